"""Taking up an earlier run: which checkpoint, where it was, and back into that state."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagloop.checkpoints.checkpoint import (
    DamagedCheckpoint,
    checkpoint_folders,
    step_of,
)
from tagloop.checkpoints.identity import check_identity, check_same_run
from tagloop.checkpoints.state import Facts, load_training_state, load_weights, read_facts
from tagloop.errors import (
    InputError,
    RunStopped,
)
from tagloop.files import FileFacts, find_damage, parse_json
from tagloop.options.config import Config
from tagloop.processes.agree import on_main
from tagloop.records import known_fields, read_record
from tagloop.run import Run
from tagloop.training.progress import TrainState

RUN_RECORD = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """What run.json says of a run, as far as a resume needs it. The fields are its keys."""

    identity: dict[str, Any]
    global_batch_size: int
    finished: bool = False
    results: dict[str, Any] = field(default_factory=dict)  # all_results.json
    model_files: dict[str, FileFacts] | None = None


def read_run_record(folder: Path) -> RunRecord | None:
    """run.json of an output folder; None if there is none.

    Raises:
        ValueError: it holds something else.
    """
    try:
        values = parse_json(folder / RUN_RECORD)
        record = read_record(known_fields(values, RunRecord), RunRecord)
        check_identity(record.identity)
    except FileNotFoundError:
        return None
    except (OSError, RecursionError) as error:
        raise ValueError(type(error).__name__) from None
    if record.global_batch_size < 1:
        raise ValueError("global_batch_size is below 1")
    return record


@dataclass(frozen=True)
class EarlierRun:
    """What the run to resume says of itself."""

    identity: dict
    global_batch_size: int
    finished: bool
    results: dict  # all_results.json of a finished run
    checkpoint: Path | None  # None: stopped before its first one
    state: TrainState

    @property
    def options(self) -> dict:
        """The options of the earlier run that make it that run."""
        return self.identity["options"]


def find_earlier(config: Config, folder: Path, say: Callable[[str], None]) -> EarlierRun | None:
    """The run that --resume_from_checkpoint means; None for a new run. Main process only."""
    if config.resume_from_checkpoint is None:
        return None
    by_itself = config.resume_from_checkpoint == "auto"
    found = find_checkpoint(config.resume_from_checkpoint, folder, say)
    try:
        record = read_run_record(folder)
    except ValueError as error:
        if found is None:
            raise InputError(
                f"{folder / RUN_RECORD}: is damaged ({error}); put it back, or delete it"
            ) from None
        record = None
    if found is None and record is None:
        return None
    finished = by_itself and record is not None and record.finished
    if finished and (damage := _find_model_damage(folder, record)):
        if found is None:
            raise InputError(
                f"{folder}: this run is finished, but {damage}, and no checkpoint is left; train "
                "again with --overwrite_output_dir instead of --resume_from_checkpoint"
            )
        say(f"{folder}: this run was finished, but {damage}; it goes on from {found[0].name}")
        finished = False
    if found is None:
        begun = Facts(0, TrainState(), record.global_batch_size, record.identity)
    checkpoint, facts = found or (None, begun)
    if checkpoint and not by_itself:
        _check_place(folder, checkpoint, facts.step)
    best = facts.state.best_checkpoint
    needs_best = config.load_best_model_at_end and best and not finished
    if checkpoint and needs_best and (damage := _find_best_damage(folder / best)):
        raise InputError(
            f"{folder / best}: the best checkpoint so far {damage}; put it back, or resume "
            "from a checkpoint before it"
        )
    return EarlierRun(
        identity=facts.identity,
        global_batch_size=facts.global_batch_size,
        finished=finished,
        results=record.results if record else {},
        checkpoint=checkpoint,
        state=facts.state,
    )


def find_checkpoint(
    resume: str, output_dir: Path, say: Callable[[str], None]
) -> tuple[Path, Facts] | None:
    """The checkpoint to go on from and its facts; None: `auto`, and there is none yet.

    Args:
        resume: a folder, or "auto" for the newest good one in output_dir.
        say: told, by name, which newer ones were passed over and why.

    Raises:
        InputError: an explicit folder that is damaged; `auto`, and all are.
    """
    if resume != "auto":
        try:
            return Path(resume), read_facts(Path(resume))
        except DamagedCheckpoint as damage:
            raise InputError(
                f"--resume_from_checkpoint {resume}: {damage}; name another, or auto"
            ) from None
    folders = checkpoint_folders(output_dir)
    for folder in reversed(folders):
        try:
            return folder, read_facts(folder)
        except DamagedCheckpoint as damage:
            say(f"passed over {folder}: {damage}")
    if folders:
        raise InputError(
            f"{output_dir}: none of its {len(folders)} checkpoints is whole; put one back, or "
            "begin anew with --overwrite_output_dir instead of --resume_from_checkpoint"
        )
    return None


def _check_best(folder: Path) -> None:
    """Raise RunStopped if the best checkpoint is no longer whole."""
    if damage := _find_best_damage(folder):
        raise RunStopped(f"{folder}: the best checkpoint {damage}; put it back")


def load_best(run: Run) -> None:
    """Put the weights of the best evaluation into the model. Every process must call this."""
    best = run.folder / run.state.best_checkpoint
    on_main(run.accelerator, lambda: _check_best(best))
    load_weights(run, best)


def _find_best_damage(folder: Path) -> str | None:
    if folder.is_symlink():
        return "is a link"
    try:
        read_facts(folder)
    except DamagedCheckpoint as damage:
        return str(damage)
    return None


def _find_model_damage(folder: Path, record: RunRecord) -> str | None:
    """What is wrong with the model that a finished run published; None if it is whole."""
    if record.model_files is None:  # by a version that did not note them
        return None if any(folder.glob("model*.safetensors")) else "model.safetensors is missing"
    try:
        return find_damage(folder, record.model_files)
    except (OSError, ValueError):
        return f"{RUN_RECORD} does not tell its model's files"


def is_at_home(checkpoint: Path, folder: Path) -> bool:
    """True if a checkpoint lies in the output folder."""
    return checkpoint.resolve().parent == folder.resolve()


def holds_run(folder: Path) -> bool:
    """True if a run was begun in a folder."""
    return (folder / RUN_RECORD).exists() or bool(checkpoint_folders(folder))


def _check_place(folder: Path, checkpoint: Path, step: int) -> None:
    """Refuse to mix the run that goes on from `checkpoint` with another one in `folder`."""
    if not is_at_home(checkpoint, folder) and holds_run(folder):
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


def restore(run: Run, earlier: EarlierRun) -> None:
    """Put the run where the earlier one was. Every process must call this.

    Raises:
        InputError: it is not the same run.
    """
    check_same_run(earlier.identity, run.identity, where=run.folder)
    if earlier.checkpoint is None:
        run.say(f"{run.folder}: no checkpoint yet, the run begins anew")
        return
    load_weights(run, earlier.checkpoint)
    load_training_state(run, earlier.checkpoint)
    run.state = earlier.state
