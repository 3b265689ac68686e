"""Checkpoints that are whole or not there: publish, verify, choose, load, prune.

A checkpoint is a folder that appears under its name only when every byte of it is on disk:

    tmp-step_20/ written -> fsync -> manifest.json (size and sha256 of every file) -> fsync
    -> renamed to step_20/ -> parent fsync -> only then older ones pruned

Weights and moments in it are finite, so that a run can go on from it.
Nothing in it is ever unpickled with code: weights are safetensors, the optimizer's state is read
with `weights_only=True`, all else is JSON.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict
from transformers import PreTrainedTokenizerFast

from tagloop.errors import NotFinite
from tagloop.files import (
    WRITE_ERRORS,
    find_damage,
    read_json,
    replace_folder,
    sync_files,
    write_text,
)
from tagloop.models.weights import find_non_finite
from tagloop.options.config import Config
from tagloop.run import Run
from tagloop.training.progress import TrainState

FORMAT_VERSION = 1
NAME = re.compile(r"(step|epoch)_\d+")
MANIFEST = "manifest.json"
# What JSON that somebody else wrote may raise; "[" 100,000 times or 1e999, for two.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
WEIGHTS = "model.safetensors"
OPTIMIZER = "optimizer.pt"


class DamagedCheckpoint(Exception):
    """A folder that is no whole checkpoint of a version this code reads; says why."""


def save_checkpoint(run: Run, *, epoch: int | None, is_best: bool) -> None:
    """Copy where the training is, and publish it beside training. Every process must call this.

    The state is gathered whole, so it does not depend on the number of processes. Its copy takes
    the memory of the weights and twice that for the moments, until it is written.

    Args:
        epoch: the one that has just ended, if any.
        is_best: this evaluation was the best so far.

    Raises:
        RunStopped: on every process, if the checkpoint before this one could not be written, or
            weights or moments are not finite. Nothing was published.
    """
    require_finite(run)
    run.background.wait()  # before memory is taken for another copy
    by_epoch = run.config.checkpointing_steps == "epoch" and epoch is not None
    folder = run.folder / (f"epoch_{epoch}" if by_epoch else f"step_{run.state.step}")
    if is_best:
        run.state.best_checkpoint = folder.name
    accelerator, model = run.accelerator, run.model
    weights = whole_weights(run)
    if accelerator.is_main_process:
        weights = {name: tensor.to("cpu", copy=True) for name, tensor in weights.items()}
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    scaler = accelerator.scaler
    training = {
        "optimizer": run.vocabulary.pack_moments(
            _copied(get_optimizer_state_dict(model, run.optimizer.optimizer, options=whole))
        ),
        "lr_scheduler": run.lr_scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else {},
    }
    facts = {
        "step": run.state.step,
        "state": dataclasses.asdict(run.state),
        "global_batch_size": run.global_batch_size,
        "identity": run.identity,
        "vocabulary_shrink": run.vocabulary.shrink,
    }

    facts = json.loads(json.dumps(facts, default=str))  # as it is now
    unwrapped, spare = accelerator.unwrap_model(model), [folder.name, run.state.best_checkpoint]

    def write(into: Path) -> None:
        write_model(into, unwrapped, weights, run.task.tokenizer)
        torch.save(training, into / OPTIMIZER)

    def publish_and_prune() -> str | None:
        try:
            publish(folder, write, facts)
        except WRITE_ERRORS as error:
            reason = getattr(error, "strerror", None) or error
            if "inline_container" in str(reason):  # torch.save tells no more
                reason = "the disk is full or failed while torch wrote to it"
            return (
                f"{folder}: the checkpoint could not be written: {reason}; mend that and go on "
                "with --resume_from_checkpoint auto"
            )
        with contextlib.suppress(OSError):  # what is left over is pruned the next time
            prune(run.folder, keep=how_many(run.config), spare=spare, say=run.say)
        return None

    run.background.start(publish_and_prune)


def _copied(optimizer_state: dict) -> dict:
    """The same state dict with tensors of its own: torch's may be the optimizer's on a CPU.

    Only the main process has any.
    """
    state = {
        name: {key: torch.clone(value) for key, value in moments.items()}
        for name, moments in optimizer_state.get("state", {}).items()
    }
    return optimizer_state | {"state": state}


def whole_weights(run: Run) -> dict[str, torch.Tensor]:
    """The model's state dict with its whole vocabulary, on the main process. All must call this."""
    weights = run.accelerator.get_state_dict(run.model)
    # A compiled module's prefix; no model knows such a name.
    weights = {name.replace("_orig_mod.", ""): tensor for name, tensor in weights.items()}
    return run.vocabulary.whole(weights) if run.accelerator.is_main_process else weights


def require_finite(run: Run) -> None:
    """Refuse weights and moments that no run can go on from. Every process must call this.

    Raises:
        NotFinite: on every process, though each may hold but a part; names a parameter.
    """
    found = [name for name in gather_object([find_non_finite(run.model, run.optimizer)]) if name]
    if found:
        raise NotFinite(f"update {run.state.step}: weights or moments of {found[0]} are not finite")


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
    """Write a checkpoint so that it appears under its name complete, or not at all.

    Args:
        write: puts the files into the folder it is given.
        facts: JSON values for the manifest.

    Raises:
        WRITE_ERRORS: nothing was published; what was there before is as it was.
    """

    def write_with_manifest(into: Path) -> None:
        write(into)
        manifest = {"format_version": FORMAT_VERSION, **facts, "files": sync_files(into)}
        manifest["sha256"] = _digest(manifest)
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        write_text(into / MANIFEST, text)  # no byte is idle: a shorter one is a damaged one

    replace_folder(folder, write_with_manifest)


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
        if damage := find_damage(folder, files):
            raise DamagedCheckpoint(damage)
        for name in (WEIGHTS, OPTIMIZER):
            if name not in files:
                raise DamagedCheckpoint(f"its manifest does not list {name}")
        state = read_state(manifest)
        manifest["identity"]["options"], manifest["identity"]["model"]
        if state.step != int(manifest["step"]) or int(manifest["global_batch_size"]) < 1:
            raise DamagedCheckpoint(f"{MANIFEST} contradicts itself")
    except OSError as error:
        raise DamagedCheckpoint(f"{Path(error.filename).name}: {error.strerror}") from None
    except UNREADABLE:
        raise DamagedCheckpoint(f"{MANIFEST} is damaged") from None
    return manifest


def read_state(manifest: dict) -> TrainState:
    """Where the training was, out of a manifest.

    Raises:
        DamagedCheckpoint: it says something that this code never wrote, or a younger one did.
    """
    known = {field.name for field in dataclasses.fields(TrainState)}
    if unknown := manifest["state"].keys() - known:
        raise DamagedCheckpoint(f"{MANIFEST}: its state has unknown {', '.join(sorted(unknown))}")
    state = TrainState(**manifest["state"])
    best = state.best_checkpoint
    if best is not None and not NAME.fullmatch(best):  # never a path
        raise DamagedCheckpoint(f"{MANIFEST}: best_checkpoint {best!r} is no checkpoint's name")
    return state


def checkpoint_folders(output_dir: Path) -> list[Path]:
    """Published checkpoints by step, good or damaged; those that do not tell their step last."""
    found = [path for path in output_dir.iterdir() if NAME.fullmatch(path.name)]
    folders = [path for path in found if path.is_dir() and not path.is_symlink()]
    return sorted(folders, key=lambda path: (step_of(path), path))


def is_ours(folder: Path) -> bool:
    """True if a folder holds a manifest such as `publish` writes, whole or not its files."""
    return {"format_version", "step", "files"} <= read_json(folder / MANIFEST).keys()


def step_of(folder: Path) -> float:
    """The step that a checkpoint's manifest tells, unverified; infinity if it does not."""
    try:
        return int(json.loads((folder / MANIFEST).read_bytes())["step"])
    except (OSError, *UNREADABLE):
        return math.inf


def how_many(config: Config) -> int | None:
    """Checkpoints to keep; those that only the best model needs make room for each other."""
    return config.checkpoints_total_limit or (None if config.checkpointing_steps else 1)


def prune(
    output_dir: Path, *, keep: int | None, spare: Iterable[str | None], say: Callable[[str], None]
) -> None:
    """Delete the oldest checkpoints but `keep` (None: all), never those named in `spare`."""
    if keep is None:
        return
    # A damaged one does not count: it is not ours to judge, and no run can be resumed from it.
    countable = [folder for folder in checkpoint_folders(output_dir) if step_of(folder) < math.inf]
    for folder in countable[: max(len(countable) - keep, 0)]:
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
