"""Checkpoints that are whole or not there: publish, verify, choose, load, prune.

A checkpoint is a folder that appears under its name only when every byte of it is on disk:

    tmp-step_20/ written -> fsync -> manifest.json (size and sha256 of every file) -> fsync
    -> renamed to step_20/ -> parent fsync -> only then older ones pruned

Nothing in it is ever unpickled with code: weights are safetensors, the optimizer's state is read
with `weights_only=True`, all else is JSON.
"""

import dataclasses
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from transformers import PreTrainedTokenizerFast

from tagloop.errors import RunStopped
from tagloop.files import fsync, sha256_of
from tagloop.run import Run

FORMAT_VERSION = 1
# A full disk is an OSError, a SafetensorError or, from torch.save, a RuntimeError.
WRITE_ERRORS = (OSError, SafetensorError, RuntimeError)
MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.pt"


class DamagedCheckpoint(Exception):
    """A folder that is no whole checkpoint of a version this code reads; says why."""


def save_checkpoint(run: Run, *, epoch: int | None, is_best: bool) -> None:
    """Publish where the training is, then prune. Every process must call this.

    The state is gathered whole, so it does not depend on the number of processes.

    Args:
        epoch: the one that has just ended, if any.
        is_best: this evaluation was the best so far.

    Raises:
        RunStopped: on every process, if the main process could not write.
    """
    by_epoch = run.config.checkpointing_steps == "epoch" and epoch is not None
    folder = run.folder / (f"epoch_{epoch}" if by_epoch else f"step_{run.state.step}")
    if is_best:
        run.state.best_checkpoint = folder.name
    accelerator, model = run.accelerator, run.model
    weights = accelerator.get_state_dict(model)
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    scaler = accelerator.scaler
    training = {
        "optimizer": get_optimizer_state_dict(model, run.optimizer.optimizer, options=whole),
        "lr_scheduler": run.lr_scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
    }
    facts = {
        "step": run.state.step,
        "state": dataclasses.asdict(run.state),
        "global_batch_size": run.global_batch_size,
        "identity": run.identity,
    }

    def write(into: Path) -> None:
        write_model(into, accelerator.unwrap_model(model), weights, run.task.tokenizer)
        torch.save(training, into / OPTIMIZER)

    failure = [None]
    if accelerator.is_main_process:
        try:
            publish(folder, write, facts)
        except WRITE_ERRORS as error:
            reason = getattr(error, "strerror", None) or error
            failure = [f"{folder}: the checkpoint could not be written: {reason}"]
    broadcast_object_list(failure)
    if failure[0]:
        raise RunStopped(failure[0])
    # Checkpoints that only the best model needs make room for each other.
    keep = run.config.checkpoints_total_limit or (0 if run.config.checkpointing_steps else 1)
    if keep and accelerator.is_main_process:
        prune(run.folder, keep=keep, spare=[folder.name, run.state.best_checkpoint], say=run.say)


def write_model(
    into: Path,
    model: nn.Module,
    weights: dict[str, torch.Tensor],
    tokenizer: PreTrainedTokenizerFast,
    *,
    original_names: bool = False,
) -> None:
    """Write model and tokenizer as transformers loads them; the only writer of model folders.

    Args:
        original_names: of the weights as their checkpoint on the hub spelled them, in files of at
            most 50 GB. Else the names of this model in one file, which a resume reads back:
            transformers would restore an old spelling (LayerNorm.gamma), and the weights would not
            find their way.
    """
    options = {} if original_names else {"save_original_format": False, "max_shard_size": 10**15}
    model.save_pretrained(into, state_dict=weights, **options)
    tokenizer.save_pretrained(into)


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
            fsync(path)
            files[path.name] = {"size": path.stat().st_size, "sha256": sha256_of(path)}
        manifest = {"format_version": FORMAT_VERSION, **facts, "files": files}
        manifest["sha256"] = _digest(manifest)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False))
        fsync(temporary / MANIFEST)
        fsync(temporary)
        if folder.exists():  # a damaged one that the run was resumed before: make way
            shutil.rmtree(replaced, ignore_errors=True)
            folder.rename(replaced)
        temporary.rename(folder)
        fsync(folder.parent)
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
            if sha256_of(path) != known["sha256"]:
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


def load_weights(accelerator: Accelerator, model: nn.Module, folder: Path) -> None:
    """Put a checkpoint's weights into the prepared model. Every process must call this."""
    options = StateDictOptions(full_state_dict=True, strict=False)
    keys = set_model_state_dict(model, load_file(folder / WEIGHTS), options=options)
    tied = getattr(accelerator.unwrap_model(model), "all_tied_weights_keys", {})
    lost = set(keys.unexpected_keys) | (set(keys.missing_keys) - set(tied))  # tied: stored once
    if lost:
        raise RunStopped(f"{folder / WEIGHTS}: does not fit the model: {', '.join(sorted(lost))}")


def load_training_state(run: Run, folder: Path) -> None:
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


def _digest(manifest: dict) -> str:
    """sha256 of a manifest's values, its own digest left out."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
