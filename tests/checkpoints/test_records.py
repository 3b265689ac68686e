"""Manifests and run.json may hold anything: each field is checked, and named in one message."""

import json
import shutil

import pytest
import torch
from checkpoint_files import rewrite
from launches import SMALL, read_json
from safetensors.torch import load_file, save_file

import train_loop
from tagloop.checkpoints import checkpoint, facts, resume
from tagloop.records import read_record
from tagloop.training.progress import TrainState

TINY = [*SMALL, "--max_train_steps=4", "--checkpointing_steps=2", "--logging_steps=1"]
ODD = [None, True, -1, 1.5, "x", [], {}, {"x": 1}, [1]]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with checkpoints after updates 2 and 4."""
    folder = tmp_path_factory.mktemp("run") / "run"
    train_loop.main([*TINY, f"--output_dir={folder}"])
    return folder


def places(values, place=()):
    """The keys that lead to every value of a JSON object."""
    for name, value in values.items():
        yield (*place, name)
        if isinstance(value, dict):
            yield from places(value, (*place, name))


def odd_values(values):
    """Every place of a JSON object with odd values for it.

    Options are many and are all read alike, so each has a third of the values in its turn; one of
    them is an object or a list, which no option is.
    """
    for number, place in enumerate(places(values)):
        for odd in ODD[number % 3 :: 3] if "options" in place[:-1] else ODD:
            yield place, odd


def replaced(values, place, odd):
    """A copy of a JSON object with another value in one place."""
    name, *rest = place
    return values | {name: replaced(values[name], rest, odd) if rest else odd}


@pytest.mark.slow
def test_every_place_of_a_manifest_may_hold_anything(finished, tmp_path):
    """A value of another type is damage; all else is read as it stands. Nothing else happens."""
    folder = tmp_path / "step_4"
    shutil.copytree(finished / "step_4", folder)
    manifest = read_json(folder / "manifest.json")
    refused = set()
    for place, odd in odd_values(manifest):
        rewrite_as_it_is(folder, replaced(manifest, place, odd))
        try:
            facts.read_facts(folder)
        except checkpoint.DamagedCheckpoint:
            refused.add((place[0], place[-1]))
    free = {"model", "data", "label2id", "id2label"}  # compared with the run's own, value by value
    known = {(place[0], place[-1]) for place in places(manifest) if not free & {*place}}
    settled = {("identity", "precision"), ("identity", "tokenizer")}
    assert known - refused <= settled | {("sha256", "sha256")}


def rewrite_as_it_is(folder, manifest):
    """Have a manifest vouch for itself, whatever it says of the files."""
    manifest = {name: value for name, value in manifest.items() if name != "sha256"}
    manifest["sha256"] = checkpoint._digest(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.slow
def test_every_place_of_a_run_record_may_hold_anything(finished, tmp_path):
    record = read_json(finished / "run.json")
    messages = []
    for place, odd in odd_values(record):
        changed = replaced(record, place, odd)
        (tmp_path / "run.json").write_text(json.dumps(changed))
        try:
            resume.read_run_record(tmp_path)
        except ValueError as error:
            messages.append((place[0], str(error)))
    assert len(messages) > 100
    assert all(message.startswith(name) for name, message in messages)


@pytest.mark.parametrize(
    ("name", "odd"),
    [("identity", {"options": [], "model": {}}),
     ("identity", {"options": {"seed": "x"}, "model": {}}),
     ("global_batch_size", "12"), ("finished", "yes"), ("results", []), ("model_files", ["x"])],
)  # fmt: skip
def test_a_damaged_run_record_is_named(finished, tmp_path, name, odd, capfd):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for step in ("step_2", "step_4"):
        shutil.rmtree(folder / step)
    record = read_json(folder / "run.json") | {name: odd}
    (folder / "run.json").write_text(json.dumps(record))
    arguments = [*TINY, f"--output_dir={folder}", "--resume_from_checkpoint=auto"]
    assert train_loop.cli(arguments) == 2
    error = capfd.readouterr().err
    assert f"{folder / 'run.json'}: is damaged ({name}" in error
    assert len(error.splitlines()) == 1


def test_auto_goes_on_where_the_run_record_is_damaged_and_a_checkpoint_is_not(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    rewrite(folder / "step_4")
    (folder / "run.json").write_text('{"identity": 3}')
    train_loop.main([*TINY, f"--output_dir={folder}", "--resume_from_checkpoint=auto"])
    assert read_json(folder / "run.json")["finished"] is True


SCHEDULE = [
    ("_step_count", "x"), ("_last_lr", "x"), ("_last_lr", [1.0]), ("lr_lambdas", ["x", "y"]),
    ("_get_lr_called_within_step", None), ("_is_initial", "x"), ("last_epoch", 1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "odd"), SCHEDULE)
def test_a_schedule_of_another_type_or_update_is_refused(finished, tmp_path, name, odd, capfd):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "step_4")
    (folder / "run.json").unlink()
    path = folder / "step_2" / "optimizer.json"
    values = read_json(path)
    values["lr_scheduler"][name] = odd
    path.write_text(json.dumps(values))
    rewrite(folder / "step_2")
    arguments = [*TINY, f"--output_dir={folder}", "--resume_from_checkpoint=auto"]
    assert train_loop.cli(arguments) == 2
    error = capfd.readouterr().err
    assert f"{path}: cannot be loaded" in error
    assert len(error.splitlines()) == 1


@pytest.mark.parametrize("odd", [-1.0, 0.0, 1.5, 3.0, float("nan")])
def test_a_moment_of_an_update_that_never_was_is_refused(finished, tmp_path, odd, capfd):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "step_4")
    (folder / "run.json").unlink()
    path = folder / "step_2" / "optimizer.safetensors"
    tensors = load_file(path)
    name = next(name for name in tensors if name.startswith("step/"))
    save_file(tensors | {name: torch.tensor(odd)}, path)
    rewrite(folder / "step_2")
    arguments = [*TINY, f"--output_dir={folder}", "--resume_from_checkpoint=auto"]
    assert train_loop.cli(arguments) == 2
    assert f"another step of {name.removeprefix('step/')}" in capfd.readouterr().err


def test_an_option_of_another_torch_is_left_out(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "step_4")
    path = folder / "step_2" / "optimizer.json"
    values = read_json(path)
    for group in values["optimizer"]["param_groups"]:
        group["of_another_version"] = True
    path.write_text(json.dumps(values))
    rewrite(folder / "step_2")
    record = read_json(folder / "run.json") | {"finished": False}
    (folder / "run.json").write_text(json.dumps(record))
    train_loop.main([*TINY, f"--output_dir={folder}", "--resume_from_checkpoint=auto"])
    weights = "model.safetensors"
    assert (folder / weights).read_bytes() == (finished / weights).read_bytes()


@pytest.mark.parametrize("step", [1, 4, 500])
def test_a_manifest_of_another_update_than_its_schedule_is_refused(finished, tmp_path, step, capfd):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    shutil.rmtree(folder / "step_4")
    (folder / "run.json").unlink()
    state = read_json(folder / "step_2" / "manifest.json")["state"]
    rewrite(folder / "step_2", step=step, state=state | {"step": step})
    arguments = [*TINY, f"--output_dir={folder}", "--resume_from_checkpoint=auto"]
    assert train_loop.cli(arguments) == 2
    assert f"its schedule counts 2 updates, its manifest {step}" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "the whole is no JSON object"),
        ({"step": True}, "step is no int"),
        ({"step": 1.0}, "step is no int"),
        ({"log_loss_sum": float("nan")}, "log_loss_sum is no float"),
        ({"log_loss_sum": 10**400}, "log_loss_sum"),
        ({"karma": 1}, "the whole has unknown karma"),
        ({"best_by_type": {"PER": {"f1": "x"}}}, "best_by_type.PER.f1 is no float"),
        ({"best_step": "1"}, "best_step is no int or null"),
    ],
)
def test_a_record_is_checked_whole(values, message):
    with pytest.raises(ValueError, match=message):
        read_record(values, TrainState)
