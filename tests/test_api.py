"""tagloop from Python: the names that tagloop.__all__ promises, and docs/python.md."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from types import SimpleNamespace

import datasets
import pytest
import torch
import transformers
from launches import REPO, read_json, read_metrics

import tagloop
import train_loop
from tagloop.errors import Preempted
from tagloop.sample.corpus import build_sample_corpus, build_sample_texts

SMALL = {
    "max_train_samples": 72,
    "max_eval_samples": 16,
    "max_predict_samples": 12,
    "per_device_train_batch_size": 12,
    "max_train_steps": 12,
    "eval_steps": 6,
    "learning_rate": 6e-3,  # finds entities in so few updates; else equal predictions say little
    "report": False,
}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> tagloop.TrainingResult:
    """A small run on the built-in sample."""
    return tagloop.train(**SMALL, output_dir=tmp_path_factory.mktemp("api") / "run")


@pytest.fixture(scope="module")
def rows() -> dict[str, list[dict]]:
    """The rows that this run read, without the columns of other tasks."""
    corpus = build_sample_corpus()
    return {
        split: [{name: row[name] for name in ("tokens", "ner_tags")} for row in corpus[split][:72]]
        for split in SPLITS
    }


def test_importing_loads_nothing_slow(tmp_path):
    for name in ("torch", "numpy", "accelerate", "transformers", "datasets"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('imports {name}')\n")
    code = "import tagloop; tagloop.InputError; print({*tagloop.__all__} - {*dir(tagloop)})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPO,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr


@pytest.mark.slow
def test_a_result_has_what_the_files_of_the_run_have(result):
    folder = result.folder
    assert f"f1 {result.scores['test']['f1']:.4g}" in repr(result).splitlines()[-1]
    everything = read_json(folder / "all_results.json")
    assert everything == {
        f"{'eval' if split == 'validation' else split}_{name}": value
        for split, values in result.scores.items()
        for name, value in values.items()
    }
    lines = [line for line in read_metrics(folder) if "eval_f1" in line]
    assert [entry["step"] for entry in result.history] == [6, 12]
    assert [entry["f1"] for entry in result.history] == [line["eval_f1"] for line in lines]
    gold = [line.split() for line in (folder / "predictions.conll").read_text().splitlines()]
    entities = [tag for *_, tag, _ in filter(None, gold) if tag.startswith("B-")]
    counts = {type_: entities.count(f"B-{type_}") for type_ in result.by_type["test"]}
    assert counts == {t: of_type["number"] for t, of_type in result.by_type["test"].items()}
    assert sum(counts.values()) == len(entities) > 0


@pytest.mark.slow
def test_a_finished_run_that_is_resumed_gives_the_same_result(result):
    again = tagloop.train(**SMALL, output_dir=result.folder, resume_from_checkpoint="auto")
    assert again == result


@pytest.mark.slow
def test_the_loaded_model_predicts_as_the_run_did(result, rows):
    words = [row["tokens"] for row in rows["test"][:12]]
    told = (result.folder / "predictions.txt").read_text().splitlines()
    predictor = result.load_model(batch_size=3)
    assert [" ".join(tagged.tags) for tagged in predictor(words)] == told
    assert len(set(" ".join(told).split())) > 2
    assert isinstance(predictor.model, transformers.BertForTokenClassification)
    text = "Ann Lee lives in Oslo."
    assert predictor(text) == predictor([text]) == tagloop.load_tagger(result.folder)(text)
    assert len(predictor([text, text])) == 2


@pytest.mark.slow
def test_rows_in_memory_train_the_model_of_a_file(result, rows, tmp_path):
    tags = sorted({tag for part in rows.values() for row in part for tag in row["ner_tags"]})
    words, classes = datasets.Value("string"), datasets.ClassLabel(names=tags)
    features = {"tokens": datasets.List(words), "ner_tags": datasets.List(classes)}
    sources = {"file": {}, "list": {}, "dataset": {}}
    for split, part in rows.items():
        file = tmp_path / f"{split}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in part))
        sources["file"][f"{split}_file"] = file
        sources["list"][f"{split}_data"] = part
        dataset = datasets.Dataset.from_list(part, features=datasets.Features(features))
        sources["dataset"][f"{split}_data"] = dataset
    runs = {
        name: tagloop.train(
            **SMALL, **data, model_name_or_path=result.folder, output_dir=tmp_path / name
        )
        for name, data in sources.items()
    }
    files = ("model.safetensors", "metrics.jsonl", "predictions.conll")
    found = {name: [(run.folder / f).read_bytes() for f in files] for name, run in runs.items()}
    assert found["list"] == found["file"]
    assert found["dataset"] == found["file"]
    fingerprints = [read_json(run.folder / "run.json")["fingerprints"] for run in runs.values()]
    assert fingerprints[0] == fingerprints[1] == fingerprints[2]


@pytest.mark.slow
def test_a_stopped_run_on_rows_in_memory_goes_on_and_leaves_the_process_as_it_was(
    result, rows, tmp_path, monkeypatch
):
    def noted(number, frame):
        raise AssertionError("the handler of the program is not the one of the run")

    real = train_loop.train_step

    def step(run, update):
        if run.state.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(run, update)

    def train(folder: str) -> tagloop.TrainingResult:
        data = {f"{split}_data": [dict(row) for row in part] for split, part in rows.items()}
        return tagloop.train(
            **SMALL, **data, model_name_or_path=result.folder, output_dir=tmp_path / folder,
            checkpointing_steps=100, resume_from_checkpoint="auto",
        )  # fmt: skip

    whole = train("whole")
    signal.signal(signal.SIGTERM, noted)
    monkeypatch.setattr(train_loop, "train_step", step)
    threads = {*threading.enumerate()}
    with pytest.raises(Preempted, match="update 6"):
        train("stopped")
    assert signal.getsignal(signal.SIGTERM) is noted
    assert {*threading.enumerate()} == threads
    monkeypatch.setattr(train_loop, "train_step", real)
    resumed = train("stopped")
    assert (resumed.scores["test"], resumed.history) == (whole.scores["test"], whole.history)
    models = [(run.folder / "model.safetensors").read_bytes() for run in (resumed, whole)]
    assert models[0] == models[1]


@pytest.mark.slow
def test_runs_follow_each_other_in_any_precision_and_change_nothing_around_them(
    tmp_path, monkeypatch, capfd, no_accelerator
):
    """As in a notebook, which shows the bar although stderr is no terminal there."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    options = SMALL | {"max_train_steps": 2, "do_train": True}
    before = dict(os.environ), [*warnings.filters], transformers.logging.get_verbosity()
    torch.manual_seed(1)
    expected = torch.rand(2).tolist()
    torch.manual_seed(1)
    for precision in ("bf16", "no"):
        result = tagloop.train(
            **options, mixed_precision=precision, output_dir=tmp_path / precision
        )
        record = read_json(result.folder / "run.json")
        assert record["environment"]["mixed_precision"] == precision
        told = capfd.readouterr()
        assert "2/2 |" in told.err
        assert max(map(len, told.out.splitlines())) <= 100, "the notebook would wrap the line"
        result.load_model()
        assert capfd.readouterr().err == "", "a bar for the weights of each model"
    after = dict(os.environ), [*warnings.filters], transformers.logging.get_verbosity()
    assert after == before
    assert torch.rand(2).tolist() == expected


@pytest.mark.slow
def test_a_predictor_of_another_task_and_what_is_no_tagger(tmp_path):
    result = tagloop.train(**SMALL, task_name="classification", output_dir=tmp_path / "run")
    lines = (result.folder / "predictions.tsv").read_text().splitlines()
    texts = [row["text"] for row in build_sample_texts()["test"][:12]]
    predictor = tagloop.load_predictor(result.folder, device="cpu")
    found = [each.values["predicted_label"] for each in predictor(texts)]
    assert found == [line.split("\t")[0] for line in lines]
    assert predictor(texts[0]) == predictor(texts[:1])
    with pytest.raises(tagloop.InputError, match=r"no tagger .* classification; .*load_predictor"):
        tagloop.load_tagger(result.folder)
    with pytest.raises(tagloop.InputError, match="words: is for taggers"):
        tagloop.load_predictor(result.folder, words="blanks")


ROWS = [{"tokens": ["Ann"], "ner_tags": ["B-PER"]}]
MISTAKES = {
    "a name": ({"lerning_rate": 1}, "unknown option --lerning_rate; did you mean --learning_rate?"),
    "a type": ({"learning_rate": "fast"}, "--learning_rate fast: must be a number"),
    "a list": ({"seed": [1, 2]}, "--seed: must be one value, not a list"),
    "a switch": ({"output_dir": True}, "--output_dir: must be text, not true"),
    "a bound": ({"seed": -1}, "--seed -1: must be at least 0"),
    "a check": ({"check_data": True}, "--check_data: trains nothing; .*`tagloop check`"),
    "all splits": (
        {"train_data": {"train": ROWS}},
        r"train_data: a dict is no list of rows; give one split: train_data=data\['train'\]",
    ),
    "no dicts": ({"test_data": ["Ann"]}, r"test_data\[0\]: 'Ann' is no row"),
    "no rows": ({"train_data": []}, "train_data: holds no rows"),
    "no JSON": (
        {"train_data": [*ROWS, {"tokens": {"Ann"}}]},
        r"train_data\[1\]: {'Ann'} has no form in JSON",
    ),
    "twice": ({"train_data": ROWS, "train_file": "a"}, "train_data with train_file"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_an_input_error(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(tagloop.InputError, match=message):
        tagloop.train(**options)
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [list, datasets.Dataset.from_list], ids=["list", "Dataset"])
def test_a_mistake_in_rows_names_the_row(kind, result, rows, tmp_path):
    """And not the file in the cache that the rows were written into."""
    wrong = {"tokens": ["Ann", "won"], "ner_tags": ["B-PER"]}
    with pytest.raises(tagloop.InputError, match=r"^train_data\[2\]: 2 tokens but 1 tag"):
        tagloop.train(
            train_data=kind([*rows["train"][:2], wrong]),
            validation_data=rows["validation"],
            model_name_or_path=result.folder,
            output_dir=tmp_path / "run",
        )


def test_another_thread_is_refused():
    caught = []

    def call():
        with pytest.raises(tagloop.InputError) as error:
            tagloop.train()
        caught.append(str(error.value))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert "main thread" in caught[0]


@pytest.mark.slow
def test_the_page_about_python_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    optuna = pytest.importorskip("optuna", reason="pip install -r requirements-dev.txt")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    monkeypatch.chdir(tmp_path)
    page = (REPO / "docs" / "python.md").read_text(encoding="utf-8")
    names: dict = {"__name__": "page"}
    for block in re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE):
        exec(block, names)
    assert len({run.folder for run in names["results"]}) == 3
    assert len({*names["scores"]}) > 1, "another seed is another run"
    trials = names["study"].trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert len({trial.params["learning_rate"] for trial in trials}) == 3
    assert "standard deviation" in capsys.readouterr().out
    (sentence,) = re.findall(r"^`tagloop.__all__`[^.]*\.", page, flags=re.MULTILINE)
    assert sorted(tagloop.__all__) == sorted(re.findall(r"`(\w+)`", sentence))
