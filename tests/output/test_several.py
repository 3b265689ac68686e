"""Several runs in one command: --seeds and --folds, each run as if it had been started alone."""

import json
import os
import signal
from statistics import stdev

import pytest
from launches import SMALL, finish, launch, read_json, start, wait_for_updates

import tagloop
import train_loop
from tagloop.sample.corpus import build_sample_corpus

FEW = [*SMALL, "--max_train_steps=6", "--no_report"]
WHOLE = ("model.safetensors", "metrics.jsonl", "predictions.conll", "predictions.npz",
         "eval_results.json", "test_results.json")  # fmt: skip


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def assert_same_run(found, expected):
    for name in WHOLE:
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Runs that were started alone, by seed."""
    folder = tmp_path_factory.mktemp("alone")
    for seed in (3, 1):
        train_loop.main([*FEW, f"--seed={seed}", f"--output_dir={folder / str(seed)}"])
    return folder


@pytest.mark.slow
def test_each_seed_is_the_run_that_was_started_alone(alone, tmp_path, capfd):
    folder = tmp_path / "group"
    returned = train_loop.main([*FEW, "--seeds=3,1", f"--output_dir={folder}"])
    assert {path.name for path in folder.iterdir()} == {"seed_3", "seed_1", "seeds.json"}
    for seed in (3, 1):
        assert_same_run(folder / f"seed_{seed}", alone / str(seed))
        options = read_json(folder / f"seed_{seed}" / "run.json")["options"]
        own = read_json(alone / str(seed) / "run.json")["options"]
        assert options == own | {"output_dir": str(folder / f"seed_{seed}")}
    scores = [read_json(alone / seed / "test_results.json")["test_f1"] for seed in ("3", "1")]
    assert scores[0] != scores[1]
    expected = {"mean": pytest.approx(sum(scores) / 2), "sd": pytest.approx(stdev(scores)),
                "values": scores}  # fmt: skip
    assert read_json(folder / "seeds.json") == returned
    assert returned["runs"] == ["seed_3", "seed_1"]
    assert returned["scores"]["test_f1"] == expected
    assert f"{sum(scores) / 2:.4f} ± {stdev(scores):.4f}" in capfd.readouterr().out


@pytest.mark.slow
def test_a_last_run_learns_from_the_validation_data_too(alone, tmp_path):
    """As from a file that holds both."""
    rows = build_sample_corpus()
    files = {name: write_jsonl(tmp_path / f"{name}.jsonl", part) for name, part in {
        "train": rows["train"][:40], "dev": rows["validation"][:20],
        "both": rows["train"][:40] + rows["validation"][:20], "test": rows["test"][:20],
    }.items()}  # fmt: skip
    model = [f"--test_file={files['test']}", "--max_train_steps=4",
             "--per_device_train_batch_size=12", "--learning_rate=6e-3", "--no_report"]  # fmt: skip
    model += [f"--tokenizer_name={alone / '1'}", f"--config_name={alone / '1'}"]
    last, joined = tmp_path / "last", tmp_path / "joined"
    train_loop.main([*model, f"--train_file={files['train']}", f"--validation_file={files['dev']}",
                     "--train_on_validation", f"--output_dir={last}"])  # fmt: skip
    train_loop.main([*model, f"--train_file={files['both']}", f"--output_dir={joined}"])
    for name in ("model.safetensors", "metrics.jsonl", "test_results.json"):
        assert (last / name).read_bytes() == (joined / name).read_bytes(), name
    assert not (last / "eval_results.json").exists()


@pytest.mark.slow
def test_the_same_command_goes_on_where_two_processes_were_killed(tmp_path):
    """In the middle of the second seed; the first is not trained again."""
    options = [*SMALL, "--per_device_train_batch_size=6", "--max_train_steps=24",
               "--num_train_epochs=9", "--checkpointing_steps=1", "--logging_steps=1"]  # fmt: skip
    arguments = [*options, "--seeds=1,2", f"--output_dir={tmp_path / 'group'}"]
    process = start(*arguments, processes=2)
    wait_for_updates(tmp_path / "group" / "seed_2", 3, process, output=lambda: "it ended")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    first = (tmp_path / "group" / "seed_1" / "run.json").stat().st_mtime_ns
    assert not (tmp_path / "group" / "seeds.json").exists()
    again = launch(*arguments, processes=2)
    assert "seed_1: this run is finished" in again.stdout
    assert (tmp_path / "group" / "seed_1" / "run.json").stat().st_mtime_ns == first
    launch(*options, "--seed=2", f"--output_dir={tmp_path / 'alone'}", processes=2)
    assert_same_run(tmp_path / "group" / "seed_2", tmp_path / "alone")


@pytest.mark.slow
def test_scores_on_other_data_have_no_mean(alone, tmp_path, capfd):
    rows = [{"tokens": ["Ann", "won"], "tags": ["B-PER", "O"]}] * 8
    data = write_jsonl(tmp_path / "a.jsonl", rows)
    test = write_jsonl(tmp_path / "test.jsonl", rows[:2])
    group = tmp_path / "group"
    options = [f"--train_file={data}", f"--test_file={test}", "--max_train_steps=1",
               f"--model_name_or_path={alone / '1'}", "--ignore_mismatched_sizes",
               "--no_report", f"--output_dir={group}"]  # fmt: skip
    assert train_loop.cli([*options, "--seeds=1"]) == 0
    before = (group / "seeds.json").read_bytes()
    write_jsonl(test, rows[:3])
    assert train_loop.cli([*options, "--seeds=1,2"]) == 2
    error = capfd.readouterr().err
    assert f"{group / 'seed_2'}: learned from or was scored on other data than seed_1" in error
    assert "(test data)" in error
    assert (group / "seeds.json").read_bytes() == before
    assert train_loop.cli([*options, "--seeds=1,2", "--overwrite_output_dir"]) == 0


@pytest.mark.slow
def test_a_signal_stops_the_present_run_and_the_next_ones_do_not_begin(tmp_path):
    options = [*SMALL, "--max_train_steps=5000", "--num_train_epochs=900", "--logging_steps=1"]
    process = start(*options, "--seeds=1,2", f"--output_dir={tmp_path / 'group'}", processes=2)
    wait_for_updates(tmp_path / "group" / "seed_1", 3, process, output=lambda: "it ended")
    process.send_signal(signal.SIGTERM)
    assert finish(process, check=False).returncode != 0
    assert list((tmp_path / "group" / "seed_1").glob("step_*"))
    assert not (tmp_path / "group" / "seed_2").exists()


@pytest.mark.slow
def test_a_signal_after_the_last_update_of_a_run_stops_the_next_ones(tmp_path, monkeypatch, capfd):
    """The run has nothing more to save, and ends as usual."""

    def train_and_signal(run, stop):
        measured = real_train(run, stop)
        os.kill(os.getpid(), signal.SIGTERM)
        return measured

    real_train = train_loop.train
    monkeypatch.setattr(train_loop, "train", train_and_signal)
    arguments = [*FEW, "--seeds=1,2", f"--output_dir={tmp_path}"]
    assert train_loop.cli(arguments) == 75
    assert "stopped by a signal after seed_1" in capfd.readouterr().err
    assert read_json(tmp_path / "seed_1" / "run.json")["finished"]
    assert not (tmp_path / "seed_2").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds=1,x"], "--seeds 1,x: must be whole numbers"),
        (["--seeds=1,1"], "has a seed twice"),
        (["--seeds=1,2", "--folds=2"], "--seeds with --folds"),
        (["--seeds=1,2", "--resume_from_checkpoint=a/step_1"], "has checkpoints of its own"),
        (["--seeds=1,2", "--do_eval"], "needs --do_train"),
        (["--seeds=1,2", "--push_to_hub"], "there is no single model"),
        (["--fold=1"], "--fold needs --folds"),
        (["--folds=2", "--fold=3"], "must be at most --folds"),
        (["--folds=2", "--do_train"], "needs --do_predict"),
        (["--train_on_validation", "--load_best_model_at_end"], "no data is left"),
        (["--train_on_validation", "--do_train", "--do_eval"], "no data is left"),
    ],
)
def test_what_cannot_be_is_one_line(options, message, tmp_path, capfd):
    assert train_loop.cli([*options, f"--output_dir={tmp_path / 'run'}"]) == 2
    error = capfd.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_several_runs_need_a_folder_of_their_own(tmp_path, capfd):
    assert train_loop.cli(["--seeds=1,2"]) == 2
    assert "--seeds needs --output_dir" in capfd.readouterr().err
    (tmp_path / "run.json").write_text("{}")
    assert train_loop.cli(["--seeds=1,2", f"--output_dir={tmp_path}"]) == 2
    assert "holds a single run" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("option", "name"),
    [("--seeds=1,2", "seeds.json"), ("--seeds=1,2", "comparison.html"),
     ("--folds=2", "label_errors.tsv"), ("--folds=2", "predictions.conll")],
)  # fmt: skip
def test_a_file_of_the_user_is_not_replaced(option, name, tmp_path, capfd):
    (tmp_path / name).write_text('{"mine": 1}')
    assert train_loop.cli([option, f"--output_dir={tmp_path}"]) == 2
    assert f"{name}: would be replaced" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"mine": 1}'


def test_python_trains_one_run(tmp_path):
    with pytest.raises(tagloop.InputError, match="call it for each with seed=N"):
        tagloop.train(seeds="1,2", output_dir=tmp_path)
