"""Manifests and run.json may hold anything: each field is checked, and named in one message."""

import json
import shutil

import pytest
from checkpoint_files import rewrite
from launches import SMALL, read_json

import train_loop
from tagloop.checkpoints import checkpoint, resume, state
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
    for place in places(manifest):
        for odd in ODD:
            rewrite_as_it_is(folder, replaced(manifest, place, odd))
            try:
                state.read_facts(folder)
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
    for place in places(record):
        for odd in ODD:
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
