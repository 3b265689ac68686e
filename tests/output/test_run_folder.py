"""One run at a time in a folder, nothing else deleted, and what is published is good."""

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoint_files import rewrite, to_old_format
from launches import (
    HANG,
    ON_CPU,
    REPO,
    SMALL,
    finish,
    launch,
    read_json,
    read_metrics,
    start,
    wait_for_updates,
    wait_until,
)
from safetensors.torch import load_file, save_file

import train_loop
from tagloop.checkpoints import checkpoint, state

TINY = [*SMALL, "--max_train_steps=4", "--checkpointing_steps=2", "--logging_steps=1"]
AUTO = "--resume_from_checkpoint=auto"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with checkpoints after updates 2 and 4."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train_loop.main([*TINY, f"--output_dir={folder}"])
    return folder


@pytest.fixture
def run_copy(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    return folder


def refused(capfd, *arguments, code=2):
    """What a run says that ends with an error code, in one message without a traceback."""
    assert train_loop.cli([str(argument) for argument in arguments]) == code
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


def unfinish(folder):
    record = read_json(folder / "run.json") | {"finished": False}
    (folder / "run.json").write_text(json.dumps(record))


# One run at a time


def hold(path, ready, leave):
    with open(path / "run.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("process 12345 on elsewhere")
        file.flush()
        ready.set()
        leave.wait(HANG)


@pytest.fixture
def occupied(tmp_path):
    """A folder that another living process has locked."""
    folder = tmp_path / "run"
    folder.mkdir()
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(folder, ready, leave))
    process.start()
    assert ready.wait(HANG)
    yield folder
    leave.set()
    process.join()


@pytest.mark.slow
@pytest.mark.parametrize("option", [AUTO, "--overwrite_output_dir", "--seed=1"])
def test_a_folder_in_use_is_refused_and_says_by_whom(occupied, option, capfd):
    error = refused(capfd, *TINY, f"--output_dir={occupied}", option)
    assert "in use by process 12345 on elsewhere" in error
    assert [path.name for path in occupied.iterdir()] == ["run.lock"]


@pytest.mark.medium
def test_the_lock_leaves_nothing_behind_and_a_dead_one_does_not_count(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.lock").write_text("process 1 on a machine that lost its power")
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={folder}"])
    assert (folder / "model.safetensors").is_file()
    assert not (folder / "run.lock").exists()


@pytest.mark.parametrize("was_there", [False, True])
def test_a_refused_run_leaves_no_new_folder_behind(tmp_path, was_there, capfd):
    folder = tmp_path / "runs" / "mine"
    if was_there:
        folder.mkdir(parents=True)
    refused(capfd, *TINY, "--task_name=chunk", "--label_column_name=x", f"--output_dir={folder}")
    assert folder.exists() == was_there


@pytest.mark.slow
def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch, capfd):
    def fail(*_):
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", fail)
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={tmp_path / 'run'}"])
    assert "cannot be locked (Operation not supported)" in capfd.readouterr().out


@pytest.mark.slow
def test_two_starts_at_once_get_folders_of_their_own(tmp_path):
    script = f"import sys; sys.path.insert(0, {str(REPO)!r}); import train_loop; "
    command = [sys.executable, "-c", script + "sys.exit(train_loop.cli())"]
    runs = [
        subprocess.Popen([*command, *SMALL, "--max_train_steps=2"], cwd=tmp_path,
                         env=os.environ | ON_CPU, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]  # fmt: skip
    assert [run.wait(HANG) for run in runs] == [0, 0]
    for number in (1, 2):
        folder = tmp_path / "runs" / f"ner-{number}"
        assert [line["step"] for line in read_metrics(folder)] == [2, 2]


@pytest.mark.slow
def test_auto_is_refused_while_the_first_run_lives(tmp_path, capfd):
    folder = tmp_path / "run"
    arguments = [
        *SMALL,
        "--max_train_steps=9999999",
        "--logging_steps=1",
        f"--output_dir={folder}",
    ]
    first = start(*arguments, AUTO)
    wait_for_updates(folder, 1, first, output=first.stdout.read)
    assert "in use by process" in refused(capfd, *arguments, AUTO)
    os.killpg(first.pid, signal.SIGKILL)
    finish(first, check=False)


def is_of(folder, process):
    try:
        return str(folder).encode() in (process / "cmdline").read_bytes()
    except OSError:  # has just ended
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_launcher_takes_its_processes_along(tmp_path, processes):
    folder = tmp_path / "run"
    launcher = start(
        *SMALL, "--max_train_steps=9999999", "--logging_steps=1", f"--output_dir={folder}",
        processes=processes, cold=True,
    )  # fmt: skip
    wait_for_updates(folder, 1, launcher, output=launcher.stdout.read)
    running = [path for path in Path("/proc").glob("[0-9]*") if is_of(folder, path)]
    trainers = [int(path.name) for path in running if int(path.name) != launcher.pid]
    assert len(trainers) == processes
    os.kill(launcher.pid, signal.SIGKILL)
    try:
        wait_until(
            lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in trainers),
            "all trainers have ended, long before their training would",
        )
    finally:
        os.killpg(launcher.pid, signal.SIGKILL)
        finish(launcher, check=False)


# What else lies in the folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tmp-run.json", "tmp-17-report.html", "slurm-17.out", "notes"])
def test_a_first_start_with_auto_lets_other_files_be(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / name).write_text("x")
    train_loop.main([*SMALL, "--max_train_steps=1", f"--output_dir={folder}", AUTO])
    assert (folder / "model.safetensors").is_file()
    assert (folder / name).exists() == (not name.startswith("tmp-"))


def test_a_refusal_names_the_file(tmp_path, capfd):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tmp-run.json").write_text("x")
    (folder / "slurm-17.out").write_text("x")
    assert "it holds slurm-17.out" in refused(capfd, *TINY, f"--output_dir={folder}")
    (folder / "predictions.conll").write_text("x")
    error = refused(capfd, *TINY, f"--output_dir={folder}", AUTO)
    assert "something else than a run (predictions.conll)" in error


@pytest.mark.slow
def test_overwriting_deletes_only_what_is_ours(run_copy):
    for name in ("step_by_step_notes", "step_99", "tmp-thoughts"):
        (run_copy / name).mkdir()
        (run_copy / name / "manifest.json").write_text('{"chapters": []}')
    train_loop.main(
        [*SMALL, "--max_train_steps=1", "--overwrite_output_dir", f"--output_dir={run_copy}"]
    )
    left = {path.name for path in run_copy.iterdir() if path.is_dir()}
    assert left == {"step_by_step_notes", "step_99", "tmp-thoughts"}


@pytest.mark.slow
def test_overwriting_deletes_every_file_of_the_run_before(tmp_path):
    """Of another task, and with a model of another kind."""
    folder = tmp_path / "run"
    task = ["--task_name=classification"]
    train_loop.main([*SMALL, *task, "--max_train_steps=1", f"--output_dir={folder}"])
    assert (folder / "predictions.tsv").exists()
    old = ["model-00001-of-00002.safetensors", "model.safetensors.index.json",
           "preprocessor_config.json", "generation_config.json"]  # fmt: skip
    theirs = ["model-notes.txt", "vocab.txt", "train.tsv"]
    for name in (*old, *theirs):
        (folder / name).write_text("{}")
    record = read_json(folder / "run.json")
    record["model_files"] |= {name: {"size": 2, "sha256": ""} for name in [*old, "../outside"]}
    (folder / "run.json").write_text(json.dumps(record))
    (tmp_path / "outside").write_text("precious")
    train_loop.main(
        [*SMALL, "--max_train_steps=1", "--overwrite_output_dir", f"--output_dir={folder}"]
    )
    left = {path.name for path in folder.iterdir()}
    assert not left & {"predictions.tsv", *old}
    assert {"predictions.conll", *theirs} <= left
    assert (tmp_path / "outside").exists()


@pytest.mark.slow
def test_a_kill_between_publishing_and_pruning_leaves_no_checkpoint_too_many(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    unfinish(folder)
    train_loop.main([*TINY, "--checkpoints_total_limit=1", f"--output_dir={folder}", AUTO])
    assert [path.name for path in checkpoint.checkpoint_folders(folder)] == ["step_4"]


@pytest.mark.slow
def test_a_checkpoint_that_only_the_best_model_needed_is_gone_at_the_end(tmp_path):
    folder = tmp_path / "run"
    train_loop.main(
        [*SMALL, "--max_train_steps=3", "--eval_steps=1", "--load_best_model_at_end",
         "--metric_for_best_model=loss", f"--output_dir={folder}"]
    )  # fmt: skip
    assert not checkpoint.checkpoint_folders(folder)
    assert (folder / "model.safetensors").is_file()


@pytest.mark.slow
def test_another_output_dir_keeps_the_earlier_lines(finished, tmp_path):
    folder = tmp_path / "new"
    train_loop.main(
        [*TINY, f"--output_dir={folder}", f"--resume_from_checkpoint={finished / 'step_2'}"]
    )
    for name in ("metrics.jsonl", "model.safetensors"):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.slow
def test_every_file_has_the_mode_that_the_user_chose(tmp_path):
    folder = tmp_path / "run"
    before = os.umask(0o027)
    try:
        train_loop.main([*SMALL, "--max_train_steps=1", "--checkpointing_steps=1",
                         f"--output_dir={folder}"])  # fmt: skip
    finally:
        os.umask(before)
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.rglob("*.*")}
    assert set(modes.values()) == {"0o640"}, modes


# Numbers that are not finite


@pytest.mark.slow
def test_weights_that_are_not_finite_are_never_published(tmp_path, capfd):
    save = "--checkpointing_steps=1"
    for number, options in enumerate(([], [save], ["--do_train"], ["--do_train", save])):
        folder = tmp_path / str(number)
        error = refused(
            capfd, *SMALL, "--max_train_steps=1", "--learning_rate=1e38", f"--output_dir={folder}",
            *options, code=3,
        )  # fmt: skip
        assert "--learning_rate" in error
        assert not (folder / "model.safetensors").exists()
        assert not checkpoint.checkpoint_folders(folder)
        assert "NaN" not in "".join(p.read_text() for p in folder.glob("*.json*"))


@pytest.mark.slow
def test_the_remedy_for_a_loss_that_is_not_finite_works(tmp_path, monkeypatch, capfd):
    step = train_loop.train_step

    def poisoned(run, update):
        if run.state.step == 3:
            with torch.no_grad():
                next(run.model.parameters()).fill_(float("nan"))
        return step(run, update)

    monkeypatch.setattr(train_loop, "train_step", poisoned)
    error = refused(capfd, *TINY, f"--output_dir={tmp_path / 'run'}", code=3)
    monkeypatch.undo()
    model = error.split("--model_name_or_path ")[1].split()[0]
    assert model == str(tmp_path / "run" / "step_2")
    train_loop.main(
        [*TINY, f"--model_name_or_path={model}", f"--output_dir={tmp_path / 'new'}",
         "--learning_rate=1e-9"]
    )  # fmt: skip
    learned, new = (load_file(Path(f, "model.safetensors")) for f in (model, tmp_path / "new"))
    assert learned.keys() == new.keys()
    assert all(torch.allclose(learned[name], new[name], atol=1e-6) for name in new)


@pytest.mark.medium
@pytest.mark.parametrize("what", ["--do_eval", "--do_predict", "--do_train"])
def test_a_model_that_is_not_finite_is_refused(run_copy, tmp_path, what, capfd):
    weights = load_file(run_copy / "model.safetensors")
    name = sorted(weights)[0]
    weights[name].view(-1)[3] = float("nan")
    save_file(weights, run_copy / "model.safetensors", metadata={"format": "pt"})
    error = refused(
        capfd, *SMALL, what, f"--model_name_or_path={run_copy}", f"--output_dir={tmp_path / 'x'}"
    )
    assert f"weights of {name} are not finite" in error


def test_the_footer_has_no_scores_of_the_run_before(run_copy, tmp_path, capfd):
    words = tmp_path / "words.txt"
    words.write_text("Ann\nwon\n")
    train_loop.main(
        [f"--predict_file={words}", "--do_predict", f"--model_name_or_path={run_copy}",
         f"--output_dir={run_copy}"]
    )  # fmt: skip
    assert not {"eval", "test"} & {
        line.split(" ")[0] for line in capfd.readouterr().out.split("\n")
    }


def test_an_evaluation_loss_that_is_not_finite_stops(run_copy, tmp_path, capfd):
    """Weights that are finite, and too large for the forward."""
    weights = load_file(run_copy / "model.safetensors")
    weights["classifier.weight"].fill_(3e38)
    save_file(weights, run_copy / "model.safetensors", metadata={"format": "pt"})
    folder = tmp_path / "x"
    arguments = [*SMALL, "--do_eval", f"--model_name_or_path={run_copy}", f"--output_dir={folder}"]
    assert "the validation loss is" in refused(capfd, *arguments, code=3)
    assert not (folder / "eval_results.json").exists()


# Checkpoints that vouch for themselves


@pytest.mark.parametrize("text", ["[" * 100_000, '{"step": 1e999}', "[]", "null", '{"files": 3}'])
@pytest.mark.slow
def test_auto_passes_over_a_manifest_that_holds_anything(run_copy, text, capfd):
    unfinish(run_copy)
    (run_copy / "step_4" / "manifest.json").write_text(text)
    train_loop.main([*TINY, f"--output_dir={run_copy}", AUTO])
    assert "passed over" in capfd.readouterr().out


@pytest.mark.parametrize(
    "state", [{"karma": 1}, {"best_checkpoint": "../outside"}, {"step": 3}, {"best_checkpoint": 7}]
)
@pytest.mark.slow
def test_auto_passes_over_a_state_that_was_never_written(run_copy, state, capfd):
    unfinish(run_copy)
    manifest = read_json(run_copy / "step_4" / "manifest.json")
    rewrite(run_copy / "step_4", state=manifest["state"] | state)
    train_loop.main([*TINY, f"--output_dir={run_copy}", AUTO])
    assert "passed over" in capfd.readouterr().out


@pytest.mark.slow
def test_a_checkpoint_that_is_a_link_is_none(run_copy, tmp_path, capfd):
    unfinish(run_copy)
    outside = (run_copy / "step_4").rename(tmp_path / "outside")
    (run_copy / "step_4").symlink_to(outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    train_loop.main([*TINY, "--overwrite_output_dir", f"--output_dir={run_copy}"])
    assert before == {path.name: path.read_bytes() for path in outside.iterdir()}


def shorten(training):
    moments = next(iter(training["optimizer"]["state"].values()))
    moments["exp_avg"] = moments["exp_avg"][:1].clone()


def widen(training):
    moments = next(iter(training["optimizer"]["state"].values()))
    moments["exp_avg_sq"] = moments["exp_avg_sq"].double()


def rename(training):
    state = training["optimizer"]["state"]
    state["nobody"] = state.pop(next(iter(state)))


def view(training):
    """The right shape and dtype, in a memory of one number."""
    moments = next(iter(training["optimizer"]["state"].values()))
    moments["exp_avg"] = torch.zeros(1).expand_as(moments["exp_avg"])


def maximize(training):
    training["optimizer"]["param_groups"][0]["maximize"] = True


def decay(training):
    training["optimizer"]["param_groups"][1]["weight_decay"] = 0.5


def regroup(training):
    decayed, others = (group["params"] for group in training["optimizer"]["param_groups"])
    decayed[0], others[0] = others[0], decayed[0]


def hasten(training):
    training["lr_scheduler"]["base_lrs"] = [1.0, 1.0]


def rush(training):
    for group in training["optimizer"]["param_groups"]:
        group["lr"] = 1.0


CHANGES = [shorten, widen, rename, view, maximize, decay, regroup, hasten, rush, dict.clear]


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_an_optimizer_of_version_1_that_does_not_fit_is_refused_before_it_is_loaded(
    run_copy, change, capfd
):
    unfinish(run_copy)
    path = to_old_format(run_copy / "step_4", change)
    assert str(path) in refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO)


@pytest.mark.slow
@pytest.mark.parametrize("change", [change for change in CHANGES if change != view])
def test_an_optimizer_that_does_not_fit_is_refused_before_it_is_loaded(run_copy, change, capfd):
    unfinish(run_copy)
    folder = run_copy / "step_4"
    training = vars(state.read_training(folder))
    change(training)
    (folder / "optimizer.json").write_text("{}")
    if training:
        changed = state.Training(**training)
        changed.write_moments(folder / "optimizer.safetensors")
        changed.write_values(folder / "optimizer.json")
    rewrite(folder)
    error = refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO)
    assert str(folder / "optimizer.json") in error


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    ["[]", "{", "[" * 100_000, '{"optimizer": 3, "lr_scheduler": {}, "scaler": {}}',
     '{"optimizer": {"param_groups": 7}, "lr_scheduler": {}, "scaler": {}}'],
)  # fmt: skip
def test_an_optimizer_json_may_hold_anything(run_copy, text, capfd):
    unfinish(run_copy)
    (run_copy / "step_4" / "optimizer.json").write_text(text)
    rewrite(run_copy / "step_4")
    assert "optimizer.json" in refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO)


@pytest.mark.slow
def test_a_checkpoint_of_version_1_goes_on_to_the_same_bytes(finished, run_copy):
    unfinish(run_copy)
    shutil.rmtree(run_copy / "step_4")
    to_old_format(run_copy / "step_2")
    train_loop.main([*TINY, f"--output_dir={run_copy}", AUTO])
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (run_copy / name).read_bytes() == (finished / name).read_bytes()


@pytest.mark.slow
def test_a_row_that_waits_outside_of_the_model_is_never_published_as_nan(run_copy, capfd):
    unfinish(run_copy)
    shutil.rmtree(run_copy / "step_4")
    path = run_copy / "step_2" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("word_embeddings.weight"))
    start = load_file(run_copy / "step_2" / "optimizer.safetensors")
    waiting = sorted({*range(len(weights[name]))} - {*start["vocabulary_rows"].tolist()})
    weights[name][waiting[0]] = float("nan")
    save_file(weights, path, metadata={"format": "pt"})
    rewrite(run_copy / "step_2")
    (run_copy / "model.safetensors").unlink()
    error = refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO, code=3)
    assert f"{name} are not finite" in error
    assert not (run_copy / "step_4").exists()
    assert not (run_copy / "model.safetensors").exists()


@pytest.mark.medium
def test_weights_that_do_not_fit_are_refused_before_they_are_loaded(run_copy, capfd):
    unfinish(run_copy)
    path = run_copy / "step_4" / "model.safetensors"
    weights = load_file(path)
    weights["classifier.bias"] = weights["classifier.bias"][:-1].clone()
    save_file(weights, path, metadata={"format": "pt"})
    rewrite(run_copy / "step_4")
    error = refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO)
    assert "classifier.bias" in error
    assert str(path) in error


def test_auto_does_not_begin_anew_when_every_checkpoint_is_damaged(run_copy, capfd):
    unfinish(run_copy)
    for step in ("step_2", "step_4"):
        (run_copy / step / "optimizer.safetensors").write_bytes(b"")
    before = (run_copy / "metrics.jsonl").read_bytes()
    error = refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO)
    assert "none of its 2 checkpoints is whole" in error
    assert (run_copy / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("text", ["[]", "", "{", "[" * 100_000])
def test_a_damaged_run_json_without_checkpoints_is_no_reason_to_begin_anew(run_copy, text, capfd):
    for step in ("step_2", "step_4"):
        shutil.rmtree(run_copy / step)
    (run_copy / "run.json").write_text(text)
    assert "run.json: is damaged" in refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO)
    assert (run_copy / "model.safetensors").is_file()


# Finished runs


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 100)])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
@pytest.mark.slow
def test_a_finished_run_whose_model_is_lost_is_not_finished(
    finished, run_copy, name, damage, capfd
):
    damage(run_copy / name)
    train_loop.main([*TINY, f"--output_dir={run_copy}", AUTO])
    out = capfd.readouterr().out
    assert f"was finished, but {name}" in out or f"was finished, but '{name}'" in out
    assert (run_copy / name).read_bytes() == (finished / name).read_bytes()
    (run_copy / name).unlink()
    for step in ("step_2", "step_4"):
        shutil.rmtree(run_copy / step)
    assert "no checkpoint is left" in refused(capfd, *TINY, f"--output_dir={run_copy}", AUTO)


def test_a_finished_run_says_so_before_anything_is_loaded(finished, monkeypatch, capfd):
    def unwanted(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(train_loop, "build", unwanted)
    train_loop.main([*TINY, f"--output_dir={finished}", AUTO])
    assert "finished, there is nothing to resume" in capfd.readouterr().out
    error = refused(capfd, *TINY, f"--output_dir={finished}", AUTO, "--seed=9")
    assert "--seed was 42 and is now 9" in error
    assert "--model_name_or_path" in error.splitlines()[-1], "how a model is trained further"


# Where the locale is not UTF-8, and where processes differ


@pytest.mark.slow
def test_a_locale_without_utf_8_changes_no_file(tmp_path):
    data = tmp_path / "train.conll"
    data.write_text("Zürich B-ÖRT\nlives O\n\nschön O\nwe O\nsaw O\n\n" * 8, encoding="utf-8")
    options = [
        f"--train_file={data}", f"--validation_file={data}", "--max_train_steps=2",
        "--checkpointing_steps=1", "--logging_steps=1",
        f"--config_name={REPO}/tests/fixtures/checkpoint-v1/model",
        f"--tokenizer_name={REPO}/tests/fixtures/checkpoint-v1/model",
    ]  # fmt: skip
    train_loop.main([*options, f"--output_dir={tmp_path / 'utf-8'}"])
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LANG": "C"}
    plain["PYTHONIOENCODING"] = "latin-1"
    folder = tmp_path / "plain"
    command = [sys.executable, "train_loop.py", *options, f"--output_dir={folder}"]
    environment = os.environ | ON_CPU | plain
    subprocess.run(command, cwd=REPO, env=environment, check=True, stdout=subprocess.DEVNULL)
    for path in [
        *folder.glob("*.json*"),
        *folder.glob("predictions.[ct]*"),
        *folder.glob("*/*.json"),
    ]:
        path.read_text(encoding="utf-8")
    assert "ÖRT" in (folder / "step_2" / "manifest.json").read_text(encoding="utf-8")
    unfinish(folder)
    command += [AUTO]
    said = subprocess.run(command, cwd=REPO, env=environment, check=True, capture_output=True)
    assert b"passed over" not in said.stdout
    for name in ("model.safetensors", "metrics.jsonl"):
        assert (folder / name).read_bytes() == (tmp_path / "utf-8" / name).read_bytes()


@pytest.mark.slow
def test_a_resume_where_one_process_reads_other_data_ends_all(run_copy):
    unfinish(run_copy)
    result = launch(
        *TINY, "--per_device_train_batch_size=6", f"--output_dir={run_copy}", AUTO,
        script="tests/one_rank.py", processes=2, environment={"REASON": "other data"},
        check=False,
    )  # fmt: skip
    assert result.returncode != 0
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert errors == ["error: process 1 has other data than the main process; give every machine "
                      "the same files and options"]  # fmt: skip
