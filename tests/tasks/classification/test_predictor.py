"""predict.py with a classifier: the answers of its training run, for every format of rows."""

import csv
import json
import re
import shutil

import pytest
import torch
from launches import SMALL, launch
from transformers import AutoTokenizer, FNetConfig

import predict
import train_loop
from tagloop.errors import InputError
from tagloop.tasks.classification.predictor import load_predictor

TEXTS = [
    ("It rained all day .", "Then snow fell ."),
    ("The team won", "2 : 0"),
    ("Wind and rain", ""),
]
LABELS = {"classes": ["weather", "sport"], "numbers": ["0.5", "2.25"]}


@pytest.fixture(scope="module", params=LABELS)
def trained(request, tmp_path_factory):
    """A folder with rows of pairs, a model that learned from them, and its predictions."""
    folder = tmp_path_factory.mktemp(request.param)
    rows = [
        {"id": number, "first": f"{first} {number}", "second": second, "label": labels[number % 2]}
        for labels in [LABELS[request.param]]
        for number, (first, second) in enumerate(TEXTS * 8)
    ]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (folder / "a.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    encoder = folder / "encoder"
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={encoder}"])
    train_loop.main(
        ["--task_name=classification", f"--config_name={encoder}", f"--tokenizer_name={encoder}",
         "--ignore_mismatched_sizes", f"--train_file={folder / 'a.jsonl'}", "--max_train_steps=6",
         "--text_column_name=first", "--text_pair_column_name=second", "--learning_rate=1e-3",
         f"--test_file={folder / 'a.jsonl'}", f"--output_dir={folder / 'run'}"]
    )  # fmt: skip
    return folder


def predicted(folder) -> list[list[str]]:
    """What the training run predicted: a list of the class and its probability, or the number."""
    return [line.split("\t") for line in (folder / "run/predictions.tsv").read_text().splitlines()]


def run(*arguments) -> int:
    return predict.cli([str(argument) for argument in arguments])


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_rows_keep_their_values_and_gain_the_answers_of_the_training_run(trained, processes):
    output = trained / f"out{processes}.jsonl"
    arguments = [trained / "run", "--file", trained / "a.jsonl", "--output", output, "--scores"]
    if processes == 1:
        assert run(*arguments) == 0
    else:
        launch(*map(str, arguments), processes=2, script="predict.py")
    given = [json.loads(line) for line in (trained / "a.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    for row, before, answer in zip(rows, given, predicted(trained), strict=True):
        assert before.items() <= row.items()
        if len(answer) == 1:
            assert row["predicted_number"] == pytest.approx(float(answer[0]), rel=1e-4)
        else:
            assert row["predicted_label"] == answer[0]
            assert row["score"] == pytest.approx(float(answer[1]), abs=1e-4)
            assert row["scores"][answer[0]] == row["score"]
            assert sum(row["scores"].values()) == pytest.approx(1, abs=1e-3)


def test_a_csv_gains_columns_and_a_text_file_lines(trained):
    source, output = trained / "a.csv", trained / "out.csv"
    assert run(trained / "run", "--file", source, "--output", output) == 0
    with source.open(newline="") as before, output.open(newline="") as after:
        for row, answered in zip(csv.DictReader(before), csv.DictReader(after), strict=True):
            assert row.items() < answered.items()
    lines = trained / "out.txt"
    assert run(trained / "run", "--file", source, "--output", lines) == 0
    found = [line.split("\t")[0] for line in lines.read_text().splitlines()]
    for line, answer in zip(found, predicted(trained), strict=True):
        if len(answer) == 2:
            assert line == answer[0]
        else:
            assert float(line) == pytest.approx(float(answer[0]), rel=1e-4)


def test_rows_with_keys_in_any_order_become_a_csv_and_no_key_gets_lost(trained, capfd):
    rows = [{"id": 1, "first": "It rained", "second": "", "lang": "en"},
            {"second": "2 : 0", "first": "The team won", "id": 2}]  # fmt: skip
    source, output = trained / "mixed.jsonl", trained / "mixed.csv"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(trained / "run", "--file", source, "--output", output) == 0
    with output.open(newline="") as file:
        found = [*csv.DictReader(file)]
    assert [(row["id"], row["first"], row["lang"]) for row in found] == [
        ("1", "It rained", "en"), ("2", "The team won", "")
    ]  # fmt: skip
    source.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    before = output.read_bytes()
    assert run(trained / "run", "--file", source, "--output", output) == 2
    assert "a later row has the key 'lang'" in capfd.readouterr().err
    assert output.read_bytes() == before


def test_a_column_of_the_user_is_not_replaced_but_an_earlier_prediction_is(trained, capfd):
    first, again = trained / "once.csv", trained / "twice.csv"
    assert run(trained / "run", "--file", trained / "a.csv", "--output", first) == 0
    with first.open(newline="") as file:
        values = {*csv.DictReader(file).fieldnames} - {"id", "first", "second", "label"}
    if len(values) > 1:
        assert run(trained / "run", "--file", first, "--output", again) == 0
        assert again.read_bytes() == first.read_bytes()
    name = min(values)
    source = trained / "rated.csv"
    source.write_text(f"first,second,{name}\nIt rained,,5\n")
    assert run(trained / "run", "--file", source, "--output", trained / "no.csv") == 2
    assert f"the input has a column '{name}', which the prediction would" in capfd.readouterr().err
    assert not (trained / "no.csv").exists()


def test_the_missing_column_of_a_pair_is_named(trained, capfd):
    source = trained / "half.jsonl"
    source.write_text(json.dumps({"first": "It rained"}) + "\n")
    assert run(trained / "run", "--file", source, "--output", trained / "no.jsonl") == 2
    assert "no column 'second'; its columns are first" in capfd.readouterr().err


def test_a_table_of_tabs_without_quotes_stays_one(trained):
    source, output = trained / "quotes.tsv", trained / "out.tsv"
    source.write_text('first\tsecond\n5" disk\the said "no" twice\n"A" is\ta letter\n')
    assert run(trained / "run", "--file", source, "--output", output) == 0
    lines = source.read_text().splitlines()
    for line, written in zip(lines, output.read_text().splitlines(), strict=True):
        assert written.startswith(f"{line}\t")


def test_the_card_of_a_model_of_pairs_shows_pairs_and_works(trained, capfd, monkeypatch):
    text = (trained / "run" / "README.md").read_text(encoding="utf-8")
    assert "tagloop predict run --file FILE.jsonl" in text
    monkeypatch.chdir(trained)
    own, others = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    for code in (own, others):
        exec(code, {})
    assert len(capfd.readouterr().out.splitlines()) == 2


def test_texts_of_the_command_line_and_of_python_get_the_same_answers(trained, capfd):
    assert run(trained / "run", "--text", "It rained", "The team won") == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row.pop("text") for row in rows] == ["It rained", "The team won"]
    answers = load_predictor(trained / "run")(["It rained", "The team won"])
    assert rows == [answer.values for answer in answers]
    assert load_predictor(trained / "run")("It rained")[0].values == rows[0]


@pytest.mark.slow
def test_classes_of_a_low_score_are_left_out_and_doubtful_rows_come_first(trained, capfd):
    source, output, page = (trained / name for name in ("a.jsonl", "out.jsonl", "out.html"))
    files = [trained / "run", "--file", source, "--output", output]
    ranked = [*files, "--sort_by", "uncertainty", "--top", 5, "--html", page]
    scores = [float(answer[1]) for answer in predicted(trained) if len(answer) == 2]
    if not scores:  # A number has no probability.
        for options in (["--min_score", 0.5], ["--sort_by", "uncertainty"]):
            assert run(*files, *options) == 2
            assert "gives predicted_number without a probability" in capfd.readouterr().err
        return
    least = sorted(scores)[len(scores) // 2]
    assert run(*files, "--min_score", least) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    for row, answer, score in zip(rows, predicted(trained), scores, strict=True):
        assert row["score"] == pytest.approx(score, abs=1e-4)
        assert row["predicted_label"] == (answer[0] if row["score"] >= least else None)
    assert {row["predicted_label"] for row in rows} > {None}
    lines = trained / "out.txt"
    assert run(trained / "run", "--file", source, "--output", lines, "--min_score", 1) == 0
    assert {*lines.read_text().split("\n")} == {""}
    assert run(*ranked) == 0
    first = [json.loads(line) for line in output.read_text().splitlines()]
    order = sorted(range(len(rows)), key=lambda at: rows[at]["score"])
    assert [row["id"] for row in first] == [rows[at]["id"] for at in order[:5]]
    assert [row["uncertainty"] for row in first] == pytest.approx(
        [1 - rows[at]["score"] for at in order[:5]]
    )
    text = page.read_text(encoding="utf-8")
    assert f"text 1: {first[0]['predicted_label']} ({first[0]['score']:.2f})" in text


@torch.no_grad()
def test_a_text_among_pairs_is_predicted_as_if_it_were_alone(trained):
    predictor = load_predictor(trained / "run")
    for weight in predictor.model.parameters():
        weight *= 5  # A model that has learned little answers nearly the same to everything.
    alone, beside = predictor(["a film"]), predictor(["a film", ("a film", "and its end")])
    assert alone[0] == beside[0] != beside[1]


def test_a_model_of_single_texts_takes_no_pair(trained, tmp_path):
    with pytest.raises(InputError, match=r"inputs\[1\] holds .* reads a text or a pair of texts"):
        load_predictor(trained / "run")([("a", "b"), ("a", "b", "c")])
    shutil.copytree(trained / "run", tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    facts["tagloop"]["pair_column"] = None  # as of a training on single texts
    (tmp_path / "run" / "config.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"inputs\[0\] holds .* this model reads one text"):
        load_predictor(tmp_path / "run")([("a", "b")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--file", "{}/a.jsonl", "--text_column_name", "body"], "a.jsonl:1: no column 'body'"),
        (["--file", "{}/bad.jsonl"], "bad.jsonl:2: first holds 7, which is no text"),
        (["--file", "{}/bare.jsonl"], "bare.jsonl:1: no column 'first'; its columns are words"),
        (["--file", "{}/a.conll"], "the format conll is for tags of words"),
        (["--text", "a", "--output_format", "brat"], "the format brat is for tags of words"),
        (["--text", "a", "--words", "blanks"], "--words is for taggers"),
    ],
)
def test_bad_input_ends_with_one_line(trained, options, message, capfd):
    (trained / "bad.jsonl").write_text(
        '{"first": "a", "second": "b"}\n{"first": 7, "second": "b"}\n'
    )
    (trained / "bare.jsonl").write_text('{"words": "a"}\n')
    (trained / "a.conll").write_text("Ann B-PER\n")
    assert run(trained / "run", *(option.format(trained) for option in options)) == 2
    assert message in capfd.readouterr().err


@pytest.mark.medium
def test_a_model_that_looks_at_padding_predicts_as_its_run_did(trained, tmp_path):
    """Fourier transforms mix all cells of a row, so a row may not be padded."""
    config = FNetConfig(
        vocab_size=len(AutoTokenizer.from_pretrained(trained / "encoder")), hidden_size=16,
        num_hidden_layers=2, intermediate_size=32, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    config.save_pretrained(tmp_path / "fnet")
    names = ["--text_column_name=first", "--text_pair_column_name=second"]
    train_loop.main(
        ["--task_name=classification", f"--config_name={tmp_path / 'fnet'}", *names,
         f"--tokenizer_name={trained / 'encoder'}", f"--train_file={trained / 'a.jsonl'}",
         f"--test_file={trained / 'a.jsonl'}", "--max_train_steps=6", "--learning_rate=2e-2",
         "--per_device_train_batch_size=4", f"--output_dir={tmp_path / 'run'}"]
    )  # fmt: skip
    expected = [line.split("\t")[-1] for line in
                (tmp_path / "run/predictions.tsv").read_text().splitlines()]  # fmt: skip
    for size in (1, 16):
        output = tmp_path / f"out-{size}.jsonl"
        arguments = ("--file", trained / "a.jsonl", "--output", output, "--batch_size", size)
        assert run(tmp_path / "run", *arguments) == 0
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        found = [row.get("score", row.get("predicted_number")) for row in rows]
        assert found == pytest.approx([float(value) for value in expected], abs=2e-4)
