"""Taking up an earlier run: which checkpoint, where it was, and back into that state."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tagloop.config import Config
from tagloop.errors import InputError, RunStopped
from tagloop.files import read_json
from tagloop.output.checkpoint import (
    DamagedCheckpoint,
    checkpoint_folders,
    load_training_state,
    load_weights,
    step_of,
    verify,
)
from tagloop.output.identity import check_same_run
from tagloop.run import Run
from tagloop.training.progress import TrainState


@dataclass(frozen=True)
class Earlier:
    """What the run to resume says of itself."""

    identity: dict
    global_batch_size: int
    finished: bool
    results: dict  # all_results.json of a finished run
    checkpoint: Path | None  # None: stopped before its first one
    state: TrainState


def find_earlier(config: Config, folder: Path, say: Callable[[str], None]) -> Earlier | None:
    """The run that --resume_from_checkpoint means; None for a new run. Main process only."""
    if config.resume_from_checkpoint is None:
        return None
    by_itself = config.resume_from_checkpoint == "auto"
    found = find_checkpoint(config.resume_from_checkpoint, folder, say)
    record = read_json(folder / "run.json")
    if found is None and "identity" not in record:
        return None
    checkpoint, manifest = found or (None, record | {"state": {}})
    state = TrainState(**manifest["state"])
    if checkpoint and not by_itself:
        _check_place(folder, checkpoint, manifest["step"])
    best = state.best_checkpoint
    if checkpoint and config.load_best_model_at_end and best and best != checkpoint.name:
        try:
            verify(folder / best)
        except DamagedCheckpoint as damage:
            raise InputError(
                f"{folder / best}: the best checkpoint so far {damage}; put it back, or resume "
                "from a checkpoint before it"
            ) from None
    return Earlier(
        identity=manifest["identity"],
        global_batch_size=manifest["global_batch_size"],
        finished=by_itself and record.get("finished", False),
        results=record.get("results", {}),
        checkpoint=checkpoint,
        state=state,
    )


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


def check_best(folder: Path) -> None:
    """Raise RunStopped if the best checkpoint is no longer whole."""
    try:
        verify(folder)
    except DamagedCheckpoint as damage:
        raise RunStopped(f"{folder}: the best checkpoint {damage}; put it back") from None


def _check_place(folder: Path, checkpoint: Path, step: int) -> None:
    """Refuse to mix the run that goes on from `checkpoint` with another one in `folder`."""
    at_home = checkpoint.resolve().parent == folder.resolve()
    if not at_home and any(folder.iterdir()):
        raise InputError(
            f"--output_dir {folder}: holds a run of its own; resume that one with "
            "--resume_from_checkpoint auto, or name a new folder"
        )
    later = [path.name for path in checkpoint_folders(folder) if step < step_of(path) < math.inf]
    if later:
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: {', '.join(later)} came after it; move them "
            "away, or resume with auto"
        )


def restore(run: Run, earlier: Earlier) -> None:
    """Put the run where the earlier one was. Every process must call this.

    Raises:
        InputError: it is not the same run.
    """
    check_same_run(earlier.identity, run.identity, where=run.folder)
    if earlier.finished:
        return
    if earlier.checkpoint is None:
        run.say(f"{run.folder}: no checkpoint yet, the run begins anew")
        return
    load_weights(run.accelerator, run.model, earlier.checkpoint)
    load_training_state(run, earlier.checkpoint)
    run.state = earlier.state
