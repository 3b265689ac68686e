"""Checkpoints that are whole or not there: publish, verify, choose, load, prune.

A checkpoint is a folder that appears under its name only when every byte of it is on disk:

    tmp-step_20/ written -> fsync -> manifest.json (size and sha256 of every file) -> fsync
    -> renamed to step_20/ -> parent fsync -> only then older ones pruned

Nothing in it is ever unpickled with code: weights are safetensors, the optimizer's state is read
with `weights_only=True`, all else is JSON.
"""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from errors import InputError, RunStopped

FORMAT_VERSION = 1
# A full disk is an OSError, a SafetensorError or, from torch.save, a RuntimeError.
WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)
MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.pt"


class DamagedCheckpoint(Exception):
    """A folder that is no whole checkpoint of a version this code reads; says why."""


def save_checkpoint(accelerator, folder: Path, *, model, optimizer, lr_scheduler, tokenizer, facts):
    """Publish the state of training under `folder`. Every process must call this.

    The state is gathered whole, so it does not depend on the number of processes.

    Args:
        folder: final name; appears complete or not at all.
        facts: what goes into the manifest beside the files: step, loop state, identity of the run.

    Raises:
        RunStopped: on every process, if the main process could not write.
    """
    weights = accelerator.get_state_dict(model)
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    training = {
        "optimizer": get_optimizer_state_dict(model, optimizer.optimizer, options=whole),
        "lr_scheduler": lr_scheduler.state_dict(),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else {},
    }
    failure = [None]
    if accelerator.is_main_process:

        def write(into: Path) -> None:
            # The names of this model, in one file: transformers would restore an old spelling
            # (LayerNorm.gamma) or cut files at 50 GB, and the weights would not find their way.
            accelerator.unwrap_model(model).save_pretrained(
                into, state_dict=weights, save_original_format=False, max_shard_size=10**15
            )
            tokenizer.save_pretrained(into)
            torch.save(training, into / OPTIMIZER)

        try:
            publish(folder, write, facts)
        except WRITE_ERRORS as error:
            reason = getattr(error, "strerror", None) or error
            failure = [f"{folder}: the checkpoint could not be written: {reason}"]
    broadcast_object_list(failure)
    if failure[0]:
        raise RunStopped(failure[0])


def publish(folder: Path, write: Callable[[Path], None], facts: dict) -> None:
    """Write a folder so that it appears under its name complete, or not at all.

    Args:
        write: puts the files into the folder it is given.
        facts: JSON values for the manifest.

    Raises:
        WRITE_ERRORS: nothing was published; what was there before is as it was.
    """
    temporary = folder.with_name(f"tmp-{folder.name}")
    replaced = folder.with_name(f"tmp-replaced-{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        files = {}
        for path in sorted(temporary.iterdir()):
            if path.is_dir():  # a tokenizer's spare templates: nothing that a resume reads
                shutil.rmtree(path)
                continue
            _fsync(path)
            files[path.name] = {"size": path.stat().st_size, "sha256": _sha256(path)}
        manifest = {"format_version": FORMAT_VERSION, **facts, "files": files}
        manifest["sha256"] = _digest(manifest)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False))
        _fsync(temporary / MANIFEST)
        _fsync(temporary)
        if folder.exists():  # a damaged one that the run was resumed before: make way
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        temporary.rename(folder)
        _fsync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except BaseException:
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def verify(folder: Path) -> dict:
    """The manifest of a checkpoint whose every file is as it was written.

    Raises:
        DamagedCheckpoint: what is wrong with it.
    """
    try:
        if (folder / MANIFEST).is_symlink():
            raise DamagedCheckpoint(f"{MANIFEST} is a link")
        manifest = json.loads((folder / MANIFEST).read_bytes())
        version, files = manifest["format_version"], manifest["files"]
        if version != FORMAT_VERSION:
            raise DamagedCheckpoint(f"is of format {version}; this tagloop reads {FORMAT_VERSION}")
        if manifest.pop("sha256") != _digest(manifest):
            raise DamagedCheckpoint(f"{MANIFEST} is not as it was written (sha256 differs)")
        for name, known in files.items():
            path = folder / name
            if Path(name).name != name or path.is_symlink() or not path.is_file():
                raise DamagedCheckpoint(f"{name!r} is missing or no plain file in the folder")
            if path.stat().st_size != known["size"]:
                raise DamagedCheckpoint(
                    f"{name} has {path.stat().st_size} bytes instead of {known['size']}"
                )
            if _sha256(path) != known["sha256"]:
                raise DamagedCheckpoint(f"{name} is not as it was written (sha256 differs)")
        for name in (WEIGHTS, OPTIMIZER):
            if name not in files:
                raise DamagedCheckpoint(f"its manifest does not list {name}")
        manifest["step"], manifest["state"], manifest["identity"]
    except OSError as error:
        raise DamagedCheckpoint(f"{Path(error.filename).name}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedCheckpoint(f"{MANIFEST} is damaged") from None
    return manifest


def find_checkpoint(
    resume: str, output_dir: Path, say: Callable[[str], None]
) -> tuple[Path, dict] | None:
    """The checkpoint to go on from and its manifest; None: `auto`, and there is none yet.

    Args:
        resume: a folder, or "auto" for the newest good one in output_dir.
        say: told, by name, which newer ones were passed over and why.

    Raises:
        InputError: an explicit folder that is damaged.
    """
    if resume != "auto":
        try:
            return Path(resume), verify(Path(resume))
        except DamagedCheckpoint as damage:
            raise InputError(
                f"--resume_from_checkpoint {resume}: {damage}; name another, or auto"
            ) from None
    for folder in reversed(checkpoint_folders(output_dir)):
        try:
            return folder, verify(folder)
        except DamagedCheckpoint as damage:
            say(f"passed over {folder}: {damage}")
    return None


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Published checkpoints by step, good or damaged; those that do not tell their step last."""
    found = [path for name in ("step_*", "epoch_*") for path in output_dir.glob(name)]
    folders = [path for path in found if path.is_dir()]
    return sorted(folders, key=lambda path: (step_of(path), path))


def step_of(folder: Path) -> float:
    """The step that a checkpoint's manifest tells, unverified; infinity if it does not."""
    try:
        return int(json.loads((folder / MANIFEST).read_bytes())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return math.inf


def remove_leftovers(output_dir: Path) -> None:
    """Delete the folders that an interrupted write left behind."""
    for name in ("tmp-step_*", "tmp-epoch_*", "tmp-replaced-*", "tmp-pruned-*", "tmp-model"):
        for path in output_dir.glob(name):
            shutil.rmtree(path, ignore_errors=True)


def check_best(folder: Path) -> None:
    """Raise RunStopped if the best checkpoint is no longer whole."""
    try:
        verify(folder)
    except DamagedCheckpoint as damage:
        raise RunStopped(f"{folder}: the best checkpoint {damage}; put it back") from None


def load_weights(accelerator, model, folder: Path) -> None:
    """Put a checkpoint's weights into the prepared model. Every process must call this."""
    options = StateDictOptions(full_state_dict=True, strict=False)
    keys = set_model_state_dict(model, load_file(folder / WEIGHTS), options=options)
    tied = getattr(accelerator.unwrap_model(model), "all_tied_weights_keys", {})
    lost = set(keys.unexpected_keys) | (set(keys.missing_keys) - set(tied))  # tied: stored once
    if lost:
        raise RunStopped(f"{folder / WEIGHTS}: does not fit the model: {', '.join(sorted(lost))}")


def load_training_state(run, folder: Path) -> None:
    """Put optimizer, schedule and loss scaler where the checkpoint has them. All processes."""
    training = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
    # Not strict: a parameter that never had a gradient has no state.
    options = StateDictOptions(full_state_dict=True, strict=False)
    set_optimizer_state_dict(
        run.model, run.optimizer.optimizer, training["optimizer"], options=options
    )
    run.lr_scheduler.load_state_dict(training["lr_scheduler"])
    if run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(training["scaler"])


def prune(output_dir: Path, *, keep: int, spare: Iterable[str], say: Callable[[str], None]) -> None:
    """Delete the oldest checkpoints but `keep`, never those named in `spare`."""
    # A damaged one does not count: it is not ours to judge, and no run can be resumed from it.
    countable = [folder for folder in checkpoint_folders(output_dir) if step_of(folder) < math.inf]
    for folder in countable[:-keep]:
        if folder.name in spare:
            continue
        doomed = folder.with_name(f"tmp-pruned-{folder.name}")  # a half-deleted one has no name
        try:
            folder.rename(doomed)
            shutil.rmtree(doomed)
        except OSError as error:
            say(f"{folder}: could not be pruned: {error.strerror}")


def check_same_run(
    saved: dict, asked: dict, *, defaults: dict, may_change: Iterable[str], where: Path
) -> None:
    """Refuse a resume that would silently be another run.

    Args:
        saved, asked: identities: a dict of options, and facts such as labels and fingerprints.
        defaults: options by name; an option that is younger than the checkpoint had its default.
        may_change: options that do not change the numbers.

    Raises:
        InputError: every difference, with its name, old and new value.
    """

    def named(identity: dict) -> dict:
        options = defaults | identity["options"]
        values = {f"--{name}": options[name] for name in options if name not in may_change}
        facts = {
            name: value for name, value in identity.items() if name not in ("options", "model")
        }
        return json.loads(json.dumps(values | facts))

    old, new = named(saved), named(asked)
    # A younger transformers may describe a model with more keys; those of both must agree.
    for key in saved["model"].keys() & asked["model"].keys():
        old[f"model {key}"], new[f"model {key}"] = saved["model"][key], asked["model"][key]
    lines = [
        f"{where}: {name} was {_short(old.get(name))} and is now {_short(new.get(name))}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if lines:
        remedy = "a resumed run goes on as it began: restore these, or start a new --output_dir"
        raise InputError("\n".join([*lines, remedy]))


def _short(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:160]}... ({len(text)} characters)"


def _digest(manifest: dict) -> str:
    """sha256 of a manifest's values, its own digest left out."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
