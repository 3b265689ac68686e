"""--context_tokens: a sentence is seen with its document, and never with another one."""

import json
import random

import numpy as np
import pytest
from launches import SMALL

import predict
import train_loop
from tagloop.data.documents import files
from tagloop.errors import InputError
from tagloop.tasks.tagging.alignment import widen_windows
from tagloop.tasks.tagging.tagger import load_tagger

N = 8
# The tag of a last word is told by a neighbour's first word, and not by its own sentence.
KINDS = {"we": "OURS", "they": "THEIRS"}


def documents_of(seed: int, number: int) -> list[list[tuple[list[str], list[str]]]]:
    """Documents of a sentence with a subject, and one or two whose last tag depends on it."""
    draw, documents = random.Random(seed), []
    for _ in range(number):
        subject = draw.choice([*KINDS])
        rows = [([subject, "now", "."], ["O", "O", "O"])]
        for _ in range(draw.choice([1, 2])):
            rows.append((["was", "in", "bank"], ["O", "O", KINDS[subject]]))
        documents.append(rows)
    return documents


def to_columns(documents) -> str:
    text = ""
    for rows in documents:
        text += "-DOCSTART- O\n\n"
        for words, tags in rows:
            pairs = zip(words, tags, strict=True)
            text += "".join(f"{word} {tag}\n" for word, tag in pairs) + "\n"
    return text


def to_rows(documents, **more) -> list[dict]:
    return [
        {"tokens": words, "pos_tags": tags, "doc_id": f"d{number}"} | more
        for number, rows in enumerate(documents)
        for words, tags in rows
    ]


def options_of(folder) -> list[str]:
    return ["--task_name=pos", f"--context_tokens={N}", f"--output_dir={folder}"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run whose model can be right only if it sees the neighbours, and its test documents."""
    folder = tmp_path_factory.mktemp("context")
    tests = documents_of(2, 30)
    for name, documents in (("train", documents_of(1, 100)), ("test", tests)):
        (folder / f"{name}.conll").write_text(to_columns(documents))
    start = folder / "start"
    train_loop.main([*SMALL, "--task_name=pos", "--max_train_steps=1", f"--output_dir={start}"])
    train_loop.main(
        [
            *options_of(folder / "run"), f"--train_file={folder / 'train.conll'}",
            f"--test_file={folder / 'test.conll'}", f"--config_name={start}",
            f"--model_name_or_path={start}", "--ignore_mismatched_sizes", "--learning_rate=3e-3",
            "--num_train_epochs=5", "--per_device_train_batch_size=16",
        ]
    )  # fmt: skip
    return folder, tests


def predicted(folder) -> list[list[str]]:
    return [line.split() for line in (folder / "predictions.txt").read_text().splitlines()]


@pytest.mark.slow
def test_a_tag_that_only_the_neighbour_tells_is_learned(model):
    folder, tests = model
    gold = [tags for rows in tests for _, tags in rows]
    assert predicted(folder / "run") == gold


@pytest.mark.slow
def test_a_prediction_depends_on_its_document_and_on_no_other(model):
    folder, _ = model
    tagger = load_tagger(folder / "run")
    subjects, sentence = [["we", "now", "."], ["they", "now", "."]], ["was", "in", "bank"]
    for subject, other in (subjects, subjects[::-1]):
        seen = tagger([subject, sentence], documents=[1, 1])[1]
        assert seen.tags[-1] == KINDS[subject[0]]
        beside = tagger([other, subject, sentence, other], documents=[0, 1, 1, 2])[2]
        assert (beside.tags, beside.scores) == (seen.tags, seen.scores)
    alone = tagger([sentence])[0]
    for documents in (None, [1, 2, 3], [None] * 3):
        inputs = [subjects[0], sentence, subjects[1]]
        assert tagger(inputs, documents)[1].scores == alone.scores
    with pytest.raises(InputError, match="documents: 1 for 3 inputs"):
        tagger(inputs, [1])


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1, 2, 1000])
@pytest.mark.parametrize("form", ["conll", "jsonl", "marked jsonl"])
def test_predict_gives_the_predictions_of_the_run(model, tmp_path, monkeypatch, form, unit):
    """In units so small that a document is parted, too."""
    monkeypatch.setattr(files, "UNIT_DOCUMENTS", unit)
    folder, tests = model
    source = tmp_path / f"in.{form.split()[-1]}"
    rows = to_rows(tests)
    if form == "marked jsonl":
        tests_with_marks = [[(["-DOCSTART-"], ["O"]), *document] for document in tests]
        rows = [{"tokens": row["tokens"]} for row in to_rows(tests_with_marks)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    source.write_text(to_columns(tests) if form == "conll" else lines)
    output = tmp_path / "out.jsonl"
    arguments = [folder / "run", "--file", source, "--output", output, "--output_format", "jsonl"]
    assert predict.cli([str(argument) for argument in arguments]) == 0
    found = [json.loads(line) for line in output.read_text().splitlines()]
    tags = [row["tags"] for row in found if row["tokens"] != ["-DOCSTART-"]]
    assert tags == predicted(folder / "run")


@pytest.mark.slow
def test_lines_of_text_see_each_other_only_if_the_training_took_files_for_documents(
    model, tmp_path
):
    folder, _ = model
    (tmp_path / "in.txt").write_text("we now .\nwas in bank\n")
    run = folder / "run"

    def scores() -> list[float]:
        output = tmp_path / "out.jsonl"
        arguments = [run, "--file", tmp_path / "in.txt", "--output", output, "--scores"]
        assert predict.cli([str(argument) for argument in arguments]) == 0
        return json.loads(output.read_text().splitlines()[1])["scores"]

    config = json.loads((run / "config.json").read_text())
    assert config["tagloop"]["context_tokens"] == N
    alone = scores()
    assert alone == load_tagger(run)([["was", "in", "bank"]])[0].scores
    try:
        changed = config | {"tagloop": config["tagloop"] | {"unmarked_split": "document"}}
        (run / "config.json").write_text(json.dumps(changed))
        inputs = [["we", "now", "."], ["was", "in", "bank"]]
        assert scores() == load_tagger(run)(inputs, [0, 0])[1].scores != alone
    finally:
        (run / "config.json").write_text(json.dumps(config))


def refusal(capfd, *arguments) -> str:
    assert train_loop.cli([*map(str, arguments)]) == 2
    (line,) = [one for one in capfd.readouterr().err.splitlines() if one.startswith("error: ")]
    return line


@pytest.mark.slow
def test_a_split_without_documents_is_refused_unless_the_user_says_that_it_is_one(
    model, tmp_path, capfd
):
    rows = to_rows(documents_of(1, 8))
    for name, kept in (
        ("train", ("tokens", "pos_tags", "doc_id")),
        ("dev", ("tokens", "pos_tags")),
    ):
        lines = (json.dumps({key: row[key] for key in kept}) + "\n" for row in rows)
        (tmp_path / f"{name}.json").write_text("".join(lines))
    arguments = [
        *options_of(tmp_path / "run"), f"--train_file={tmp_path / 'train.json'}",
        f"--validation_file={tmp_path / 'dev.json'}", "--model_type=bert", "--max_train_steps=1",
    ]  # fmt: skip
    start = model[0] / "start"
    arguments.append(f"--tokenizer_name={start}")
    line = refusal(capfd, *arguments)
    assert "error: validation: nothing marks where a document begins" in line
    assert "--unmarked_split document" in line
    longest = json.loads((start / "config.json").read_text())["max_position_embeddings"]
    marked = [each for each in arguments if "dev.json" not in each and "--context" not in each]
    line = refusal(capfd, *marked, f"--context_tokens={longest}")
    assert f"--context_tokens {longest}: must be less than the {longest} sub-tokens" in line
    line = refusal(capfd, *marked, "--context_tokens=4", "--document_column_name=page")
    assert "no column 'page' (--document_column_name)" in line
    train_loop.main([*arguments, "--unmarked_split=document"])
    log = capfd.readouterr().out
    assert f"context     up to {N} sub-tokens of the same document" in log


def test_more_context_than_a_window_has_room_for_is_refused(tmp_path, capfd):
    line = refusal(
        capfd, "--context_tokens=64", "--max_length=64", f"--output_dir={tmp_path / 'x'}"
    )
    assert "--context_tokens 64: must be less than --max_length 64" in line


def test_both_sides_share_the_room_that_the_own_words_leave():
    counts = np.array([1, 2, 1, 3, 2, 1, 1])  # own: words 3 and 4, of 5 sub-tokens
    windows = np.array([[3, 5, 3, 5]])

    def widened(most: int, budget: int) -> list[int]:
        wide = widen_windows(
            windows, counts, np.array([0]), np.array([7]), context_tokens=most, budget=budget
        )
        assert wide[0, 2:].tolist() == [3, 5], "own words stay"
        return wide[0, :2].tolist()

    assert widened(64, 100) == [0, 7]
    assert widened(1, 100) == [2, 6]
    assert widened(2, 100) == [2, 7], "a word is seen whole, or not"
    assert widened(64, 5) == [3, 5]
    assert widened(64, 7) == [2, 6]
    assert widened(64, 10) == [1, 7], "what one side does not need goes to the other"
