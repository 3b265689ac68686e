"""What is not a run's own is neither replaced nor deleted, nor written through a link."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest
from checkpoint_files import rewrite
from launches import REPO, SMALL, read_json

import train_loop
from tagloop.checkpoints import checkpoint

TINY = [*SMALL, "--max_train_steps=4", "--checkpointing_steps=2", "--logging_steps=1"]
SCORE = ["--max_eval_samples=5", "--max_predict_samples=5", "--do_eval", "--do_predict"]
AUTO, OVERWRITE = "--resume_from_checkpoint=auto", "--overwrite_output_dir"


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
    """The message of a run that ends with an error code."""
    assert train_loop.cli([str(argument) for argument in arguments]) == code
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


def everything(folder):
    """Each file below a folder, with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("manifest", [None, '{"chapters": []}', "{"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_step_of_somebody_else_is_never_replaced(run_copy, kind, manifest, capfd):
    record = read_json(run_copy / "run.json") | {"finished": False}
    (run_copy / "run.json").write_text(json.dumps(record))
    shutil.rmtree(run_copy / "step_4")
    mine = run_copy / "step_4"
    if kind == "file":
        mine.write_text("notes")
    else:
        mine.mkdir()
        (mine / "notes.txt").write_text("notes")
        if manifest:
            (mine / "manifest.json").write_text(manifest)
    before = everything(run_copy)
    for option in (AUTO, OVERWRITE):
        error = refused(capfd, *TINY, f"--output_dir={run_copy}", option)
        assert f"{mine}: is no checkpoint of a run" in error
        assert everything(run_copy) == before
    # One that this run cannot reach is in nobody's way.
    mine.rename(run_copy / "step_99")
    train_loop.main([*TINY, f"--output_dir={run_copy}", OVERWRITE])
    assert (run_copy / "step_99").exists()


def test_a_checkpoint_takes_no_foreign_place_in_the_middle_of_a_run(tmp_path):
    folder = tmp_path / "step_2"
    folder.mkdir()
    (folder / "notes.txt").write_text("notes")
    with pytest.raises(FileExistsError):
        checkpoint.publish(folder, lambda into: None, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["step_2"]
    assert (folder / "notes.txt").read_text() == "notes"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["predictions.txt", "all_results.json", "eval_results.json"])
def test_an_evaluation_replaces_no_file_of_the_user(finished, tmp_path, name, capfd):
    folder = tmp_path / "scored"
    folder.mkdir()
    (folder / name).write_text("mine")
    arguments = [*SCORE, f"--model_name_or_path={finished}", f"--output_dir={folder}"]
    error = refused(capfd, *arguments)
    assert f"holds {name}, which no evaluation of this model wrote" in error
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "mine"}
    train_loop.main([*arguments, OVERWRITE])
    assert (folder / name).read_text() != "mine"
    train_loop.main(arguments)  # now they are of this model's evaluation


def test_an_evaluation_adds_nothing_to_the_run_of_another_model(finished, run_copy, capfd):
    before = everything(run_copy)
    arguments = [*SCORE, f"--model_name_or_path={finished}", f"--output_dir={run_copy}"]
    assert "holds the run of another model" in refused(capfd, *arguments)
    assert everything(run_copy) == before
    train_loop.main([*arguments, OVERWRITE])
    results = read_json(run_copy / "all_results.json")
    assert "eval_f1" in results
    assert "train_loss" not in results
    left = {path.name for path in run_copy.iterdir()}
    assert not left & {"run.json", "model.safetensors", "step_4"}, "the run was overwritten"


@pytest.mark.medium
def test_an_evaluation_of_the_runs_own_model_joins_its_results(run_copy):
    train_loop.main(["--do_eval", f"--model_name_or_path={run_copy}", f"--output_dir={run_copy}"])
    assert {"train_loss", "eval_f1"} <= read_json(run_copy / "all_results.json").keys()
    assert (run_copy / "model.safetensors").exists()


@pytest.mark.parametrize("more", [[], [OVERWRITE]])
def test_scores_of_a_checkpoint_do_not_replace_those_of_its_run(run_copy, more, capfd):
    before = everything(run_copy)
    arguments = [*SCORE, f"--model_name_or_path={run_copy / 'step_2'}", f"--output_dir={run_copy}"]
    assert "name another folder" in refused(capfd, *arguments, *more)
    assert everything(run_copy) == before


def test_scores_of_two_models_are_not_mixed(finished, run_copy, tmp_path, capfd):
    folder = tmp_path / "scored"
    train_loop.main(["--do_eval", f"--model_name_or_path={finished}", f"--output_dir={folder}"])
    other = ["--do_predict", "--max_predict_samples=5", f"--model_name_or_path={run_copy}"]
    error = refused(capfd, *other, f"--output_dir={folder}")
    assert "which no evaluation of this model wrote" in error
    train_loop.main([*other, f"--output_dir={folder}", OVERWRITE])
    assert "eval_f1" not in read_json(folder / "all_results.json")


def test_a_model_below_the_folder_of_a_run_is_not_the_model_of_the_run(run_copy, capfd):
    mine = shutil.copytree(run_copy / "step_2", run_copy / "mine")
    before = everything(run_copy)
    arguments = [*SCORE, f"--model_name_or_path={mine}", f"--output_dir={run_copy}"]
    assert "holds the run of another model" in refused(capfd, *arguments)
    assert everything(run_copy) == before


@pytest.mark.parametrize(
    "name", ["tmp-model", "tmp-step_3", "tmp-predictions.txt", "tmp-README.md"]
)
@pytest.mark.parametrize("option", [None, OVERWRITE, AUTO, "--do_eval"])
def test_temporary_names_are_the_users_where_no_run_is(finished, tmp_path, name, option, capfd):
    folder = tmp_path / "out"
    mine = folder / name / "thesis.txt" if "." not in name else folder / name
    mine.parent.mkdir(parents=True)
    mine.write_text("precious")
    arguments = [f"--output_dir={folder}", *([option] if option else [])]
    if option == "--do_eval":
        arguments.append(f"--model_name_or_path={finished}")
    else:
        arguments += TINY
    assert f"{folder / name}: a run writes its files under" in refused(capfd, *arguments)
    assert mine.read_text() == "precious"


def test_an_evaluation_that_could_not_write_can_be_started_again(finished, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    arguments = [*SCORE, f"--model_name_or_path={finished}", f"--output_dir={tmp_path / 'out'}"]
    with monkeypatch.context() as patch:
        patch.setattr("tagloop.files.os.fsync", full)
        assert train_loop.cli(arguments) == 3
    assert train_loop.cli(arguments) == 0


@pytest.mark.medium
@pytest.mark.parametrize("name", ["tmp-model", "tmp-step_3", "tmp-42-predictions.txt"])
def test_what_a_killed_run_left_is_cleared(run_copy, name):
    left = run_copy / name
    left.mkdir() if "." not in name else left.write_text("half a")
    train_loop.main([*TINY, f"--output_dir={run_copy}", OVERWRITE])
    assert not left.exists()


@pytest.mark.parametrize("option", ["--train_file", "--validation_file", "--predict_file"])
def test_a_run_does_not_replace_what_it_reads(finished, run_copy, option, capfd):
    data = run_copy / "predictions.conll"
    before = everything(run_copy)
    arguments = [f"--model_name_or_path={finished}", f"--output_dir={run_copy}", OVERWRITE]
    arguments += [f"{option}={data}", "--do_predict" if "predict" in option else "--do_train"]
    if option == "--validation_file":
        arguments.append(f"--train_file={shutil.copy(data, run_copy.parent)}")
    assert f"holds {option} predictions.conll" in refused(capfd, *arguments)
    assert everything(run_copy) == before


def test_overwriting_a_run_does_not_replace_a_model_that_no_run_wrote(finished, tmp_path, capfd):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        shutil.copy(finished / name, folder / name)
    before = everything(folder)
    assert "which no run wrote" in refused(capfd, *TINY, f"--output_dir={folder}", OVERWRITE)
    assert everything(folder) == before


@pytest.mark.parametrize("option", ["--tokenizer_name", "--config_name"])
def test_a_run_does_not_overwrite_its_tokenizer_or_configuration(run_copy, option, capfd):
    before = everything(run_copy)
    error = refused(capfd, *TINY, f"--output_dir={run_copy}", f"{option}={run_copy}", OVERWRITE)
    assert f"holds {option}, which would be overwritten" in error
    assert everything(run_copy) == before


@pytest.mark.medium
def test_a_resumed_run_keeps_the_checkpoints_that_the_user_asked_for(run_copy):
    shutil.rmtree(run_copy / "step_4")
    record = read_json(run_copy / "run.json") | {"finished": False}
    (run_copy / "run.json").write_text(json.dumps(record))
    options = [option for option in TINY if not option.startswith("--checkpointing_steps")]
    train_loop.main([*options, f"--output_dir={run_copy}", AUTO])
    assert read_json(run_copy / "run.json")["finished"]
    assert (run_copy / "step_2").exists()
    assert (run_copy / "step_4").exists()


@pytest.mark.parametrize("name", ["run.lock", "metrics.jsonl", "run.json", "predictions.txt"])
@pytest.mark.parametrize("option", [AUTO, OVERWRITE])
def test_nothing_is_written_through_a_link(tmp_path, name, option, capfd):
    folder, mine = tmp_path / "run", tmp_path / "mine"
    folder.mkdir()
    mine.write_text("precious")
    (folder / name).symlink_to(mine)
    error = refused(capfd, *TINY, f"--output_dir={folder}", option)
    assert str(folder / name) in error
    assert mine.read_text() == "precious"
    assert (folder / name).is_symlink()


@pytest.mark.medium
@pytest.mark.parametrize("name", ["tmp-run.json", "tmp-metrics.jsonl", "tmp-model", "tmp-step_2"])
def test_no_temporary_name_leads_out_of_the_folder(tmp_path, name):
    folder, mine = tmp_path / "run", tmp_path / "mine"
    folder.mkdir()
    mine.mkdir() if "." not in name else mine.write_text("precious")
    (folder / name).symlink_to(mine)
    train_loop.main([*TINY, f"--output_dir={folder}", OVERWRITE])
    assert not os.path.lexists(folder / name)
    assert mine.read_text() == "precious" if mine.is_file() else not list(mine.iterdir())


@pytest.mark.medium
def test_a_dangling_link_of_an_interrupted_write_is_cleared(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "tmp-replaced-step_2").symlink_to(tmp_path / "nowhere")
    train_loop.main([*TINY, f"--output_dir={folder}", AUTO])
    assert not os.path.lexists(folder / "tmp-replaced-step_2")


@pytest.mark.parametrize("make", [lambda path: path.write_text("my lock"), os.mkfifo])
def test_a_lock_of_somebody_else_is_left_alone(tmp_path, make, capfd):
    folder = tmp_path / "run"
    folder.mkdir()
    make(folder / "run.lock")
    assert "is no lock of a run" in refused(capfd, *TINY, f"--output_dir={folder}")
    assert (folder / "run.lock").exists()


def test_pruning_spares_the_best_of_every_checkpoint_that_it_keeps(finished, tmp_path):
    """The newest may turn out damaged; then a run goes on from the one before, with its best."""
    folder = tmp_path / "run"
    best = {1: "step_1", 2: "step_2", 3: "step_2", 4: "step_4"}
    for step, name in best.items():
        shutil.copytree(finished / "step_4", folder / f"step_{step}")
        state = read_json(finished / "step_4" / "manifest.json")["state"]
        rewrite(folder / f"step_{step}", step=step, state=state | {"best_checkpoint": name})
    checkpoint.prune(folder, keep=2, spare=["step_4", "step_4"], say=print)
    assert {path.name for path in folder.iterdir()} == {"step_2", "step_3", "step_4"}


def test_pruning_takes_no_folder_of_somebody_else(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished / "step_4", folder / "step_4")
    (folder / "step_1").mkdir()
    (folder / "step_1" / "manifest.json").write_text('{"step": 1}')
    checkpoint.prune(folder, keep=1, spare=[], say=print)
    assert {path.name for path in folder.iterdir()} == {"step_1", "step_4"}


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 3])
def test_a_folder_that_is_lost_in_mid_run_is_named(tmp_path, monkeypatch, step, capfd):
    """The lock cannot be given back then, which is not the error to be told."""
    folder, real_step = tmp_path / "run", train_loop.train_step

    def lose_folder(run, update):
        if run.state.step == step:
            folder.rename(tmp_path / "elsewhere")
            folder.write_text("a file now")
        return real_step(run, update)

    monkeypatch.setattr(train_loop, "train_step", lose_folder)
    error = refused(capfd, *TINY, f"--output_dir={folder}", code=3)
    assert str(folder) in error
    assert "Not a directory" in error
    assert len(error.splitlines()) == 1


@pytest.mark.medium
@pytest.mark.parametrize("script", ["train_loop.py", "export.py", "predict.py", "report.py"])
def test_a_deleted_working_directory_is_named(tmp_path, script):
    command = f"mkdir gone && cd gone && rmdir ../gone && exec {sys.executable} {REPO / script} x"
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: the working directory was deleted; cd into one that is there"
    ]
