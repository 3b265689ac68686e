"""Experiment trackers: they get what metrics.jsonl gets, no secret, and cannot end a run."""

import shutil
import sys

import pytest
from accelerate.tracking import TensorBoardTracker, get_available_trackers
from launches import SMALL, read_json, read_metrics

import train_loop

INSTALLED = [str(tracker) for tracker in get_available_trackers()]
PROJECT = "ner_no_trainer"
TOKEN = "hf_thisIsASecret"
WITH_TENSORBOARD = pytest.mark.skipif(
    "tensorboard" not in INSTALLED, reason="pip install tensorboard"
)


def run(folder, *arguments):
    return train_loop.main([*SMALL, f"--output_dir={folder}", *arguments])


def read_tensorboard(folder, project):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / project)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def read_mlflow(folder, project):
    import mlflow

    client = mlflow.MlflowClient()
    (found,) = client.search_runs([client.get_experiment_by_name(project).experiment_id])
    assert found.info.run_name == folder.name
    assert found.data.params["learning_rate"] == "0.006"
    return {
        name: [
            (metric.step, metric.value)
            for metric in client.get_metric_history(found.info.run_id, name)
        ]
        for name in found.data.metrics
    }


READERS = {"tensorboard": read_tensorboard, "mlflow": read_mlflow}


@pytest.mark.parametrize("task", ["ner", "pos"])
@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.slow
def test_a_tracker_by_its_name_gets_what_metrics_jsonl_gets(tmp_path, monkeypatch, name, task):
    if name not in READERS:
        pytest.skip(f"no reader for {name}'s files")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    folder = tmp_path / "run"
    results = run(folder, f"--report_to={name}", f"--task_name={task}")
    logged = READERS[name](folder, f"{task}_no_trainer")
    lines = read_metrics(folder)
    for key in ("loss", "grad_norm", "learning_rate", "eval_accuracy", "eval_loss"):
        expected = [(line["step"], pytest.approx(line[key])) for line in lines if key in line]
        assert len(expected) >= 2
        assert logged[key] == expected
    assert logged["test_accuracy"] == [(12, pytest.approx(results["test_accuracy"]))]


@pytest.mark.slow
@WITH_TENSORBOARD
def test_options_arrive_flat_and_no_secret_does(tmp_path, monkeypatch):
    """wandb records the command line: what it would see of it has no token, either."""
    options = [*SMALL, "--max_train_steps=1", "--report_to=tensorboard", "--hub_token", TOKEN]
    monkeypatch.setattr(
        sys, "argv", ["train_loop.py", *options, f"--output_dir={tmp_path / 'run'}"]
    )
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, *sys.argv])
    train_loop.main()
    (file,) = (tmp_path / "run" / PROJECT).glob("*/hparams.yml")
    assert "\nlearning_rate: 0.006\n" in file.read_text(encoding="utf-8")
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or TOKEN.encode() not in path.read_bytes(), path
    for arguments in (sys.argv, sys.orig_argv):
        assert "--hub_token" in arguments
        assert TOKEN not in " ".join(arguments)


@WITH_TENSORBOARD
@pytest.mark.slow
def test_a_resumed_run_has_every_point_once(tmp_path):
    folder = tmp_path / "run"
    options = [
        "--report_to=tensorboard", "--checkpointing_steps=1", "--logging_steps=1", "--eval_steps=2",
        "--max_train_steps=4",
    ]  # fmt: skip
    run(folder, *options)
    for step in (2, 3, 4):  # killed after update 4, with the checkpoint of update 1 left
        shutil.rmtree(folder / f"step_{step}")
    for name in ("model.safetensors", "run.json"):
        (folder / name).unlink()
    run(folder, *options, "--resume_from_checkpoint=auto")
    logged = read_tensorboard(folder, PROJECT)
    assert [step for step, _ in logged["loss"]] == [1, 2, 3, 4]
    assert [step for step, _ in logged["eval_f1"]] == [2, 4]


@pytest.mark.slow
@WITH_TENSORBOARD
def test_a_tracker_that_cannot_start_is_one_line_and_costs_nothing(tmp_path, capfd):
    folder = tmp_path / "run"
    run(folder, "--max_train_steps=1")
    (folder / PROJECT).write_text("in the way")
    weights = (folder / "model.safetensors").read_bytes()
    command = [*SMALL, f"--output_dir={folder}", "--overwrite_output_dir"]
    capfd.readouterr()
    assert train_loop.cli([*command, "--report_to=tensorboard"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: --report_to tensorboard: could not be started: ")
    assert PROJECT in line
    assert (folder / "model.safetensors").read_bytes() == weights, "it was not overwritten yet"


@pytest.mark.slow
@WITH_TENSORBOARD
def test_a_tracker_that_fails_on_the_way_does_not_end_the_run(tmp_path, monkeypatch, capfd):
    def lost(*_, **__):
        raise ConnectionError("the server has gone")

    monkeypatch.setattr(TensorBoardTracker, "log", lost)
    run(tmp_path / "run", "--report_to=tensorboard")
    said = capfd.readouterr().out
    assert said.count("tensorboard failed and gets no more: the server has gone") == 1
    assert read_json(tmp_path / "run" / "run.json")["finished"] is True
    assert len(read_metrics(tmp_path / "run")) == 5


def test_a_missing_tracker_is_named_with_its_command_before_anything_starts(tmp_path, capfd):
    missing = [name for name in ("aim", "swanlab", "dvclive") if name not in INSTALLED]
    if len(missing) < 2:
        pytest.skip("all trackers are installed")
    both = ",".join(missing[:2])
    code = train_loop.cli([*SMALL, f"--output_dir={tmp_path / 'run'}", f"--report_to={both}"])
    said = capfd.readouterr()
    assert (code, said.out) == (2, "")
    names = " ".join(missing[:2])
    assert said.err.endswith(f"is not installed; pip install {names}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_none_is_no_tracker(tmp_path):
    run(tmp_path / "run", "--max_train_steps=1", "--with_tracking", "--report_to=none")
    assert not (tmp_path / "run" / PROJECT).exists()
