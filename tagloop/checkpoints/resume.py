"""Resumes an earlier run: finds its newest complete checkpoint and restores its state."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagloop.checkpoints.checkpoint import DamagedCheckpoint, checkpoint_folders, step_of
from tagloop.checkpoints.facts import Facts, read_facts
from tagloop.checkpoints.identity import check_identity, check_same_run
from tagloop.checkpoints.state import (
    load_trained_weights,
    load_training_state,
    load_weights,
)
from tagloop.errors import InputError, RunStopped
from tagloop.files import FileFacts, find_damage, parse_json
from tagloop.options.config import Config
from tagloop.outcome.results import Results
from tagloop.processes.agree import on_main
from tagloop.records import known_fields, read_record
from tagloop.run import Run
from tagloop.training.lora import merge_adapters
from tagloop.training.progress import TrainState

RUN_RECORD = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """The part of run.json that a resume needs. The names of the fields are its keys.

    Attributes:
        identity: the result of build_identity.
        global_batch_size: examples that one update learns from, over all processes.
        finished: True if the run has ended and written its model.
        results: the content of all_results.json.
        by_type: the scores by type, as `Results` has them; {} in a run.json of an older version.
        model_files: size and digest of every file of the model, by name; None in a run.json of an
            older version.
    """

    identity: dict[str, Any]
    global_batch_size: int
    finished: bool = False
    results: dict[str, Any] = field(default_factory=dict)
    by_type: dict[str, Any] = field(default_factory=dict)
    model_files: dict[str, FileFacts] | None = None


def read_run_record(folder: Path) -> RunRecord | None:
    """Read run.json of an output folder; None if the folder has no run.json.

    Raises:
        ValueError: run.json cannot be read or has another content.
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
    """The run that is resumed.

    Attributes:
        identity: the result of build_identity in that run.
        global_batch_size: examples that one update learns from, over all processes.
        finished: True if that run has ended and its model is complete.
        results: the content of all_results.json of a finished run, with its folder.
        checkpoint: the checkpoint to resume from; None if that run wrote none.
        state: the progress of its training.
    """

    identity: dict
    global_batch_size: int
    finished: bool
    results: Results
    checkpoint: Path | None
    state: TrainState

    @property
    def options(self) -> dict:
        """The options of the earlier run that belong to its identity."""
        return self.identity["options"]


def find_earlier(config: Config, folder: Path, say: Callable[[str], None]) -> EarlierRun | None:
    """Find the run that --resume_from_checkpoint means. Only the main process calls this.

    Args:
        folder: the output folder.
        say: called with a message for the user about a checkpoint that cannot be used.

    Returns:
        The earlier run; None for a new run.

    Raises:
        InputError: the checkpoint or the folder cannot be used; the message says why.
    """
    if config.resume_from_checkpoint is None:
        return None
    is_auto = config.resume_from_checkpoint == "auto"
    record = problem = None
    try:
        record = read_run_record(folder)
    except ValueError as error:
        problem = error
    finished = is_auto and record is not None and record.finished
    damage = _find_model_damage(folder, record) if finished else None
    candidate = None  # The checkpoints of a finished run are not needed, and may be damaged.
    if damage or not finished:
        candidate = find_checkpoint(config.resume_from_checkpoint, folder, say)
    if candidate is None and problem:
        raise InputError(
            f"{folder / RUN_RECORD}: is damaged ({problem}); put it back, or delete it"
        )
    if candidate is None and record is None:
        return None
    if damage:
        if candidate is None:
            raise InputError(
                f"{folder}: this run is finished, but {damage}, and no checkpoint is left; train "
                "again with --overwrite_output_dir instead of --resume_from_checkpoint"
            )
        say(f"{folder}: this run was finished, but {damage}; it goes on from {candidate[0].name}")
        finished = False
    if candidate is None:
        begun = Facts(0, TrainState(), record.global_batch_size, record.identity)
    checkpoint, facts = candidate or (None, begun)
    if checkpoint and not is_auto:
        _check_place(folder, checkpoint, facts, record)
    if checkpoint and config.load_best_model_at_end:
        _require_best(folder, checkpoint, facts)
    return EarlierRun(
        identity=facts.identity,
        global_batch_size=facts.global_batch_size,
        finished=finished,
        results=Results(record.results if record else {}, folder, record.by_type if record else {}),
        checkpoint=checkpoint,
        state=facts.state,
    )


def find_checkpoint(
    resume: str, output_dir: Path, say: Callable[[str], None]
) -> tuple[Path, Facts] | None:
    """Find the checkpoint to resume from.

    Args:
        resume: the folder of a checkpoint, or "auto" for the newest complete one in output_dir.
        say: called with the name of every newer checkpoint that is damaged, and the reason.

    Returns:
        The checkpoint and its facts; None for "auto" if output_dir has no checkpoint yet.

    Raises:
        InputError: the named checkpoint is damaged; or, for "auto", all checkpoints are damaged.
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
    """Raise RunStopped if the best checkpoint is damaged."""
    if damage := _find_best_damage(folder):
        raise RunStopped(f"{folder}: the best checkpoint {damage}; put it back")


def load_final(run: Run) -> None:
    """Give the model the weights that the run ends with. Every process must call this.

    They are those of the best evaluation with --load_best_model_at_end, or the average with
    --ema_decay, or else those of the last update. Adapters of --lora_rank are merged into them.

    Raises:
        RunStopped: on every process, if the best checkpoint is damaged.
    """
    if run.average:
        run.average.keep()
    if run.config.load_best_model_at_end and run.state.best_checkpoint:
        best = run.folder / run.state.best_checkpoint
        on_main(run.accelerator, lambda: _check_best(best))
        load_weights(run, best)
    if run.config.lora_rank:
        merge_adapters(run.accelerator.unwrap_model(run.model))


def _find_best_damage(folder: Path) -> str | None:
    if folder.is_symlink():
        return "is a link"
    try:
        read_facts(folder)
    except DamagedCheckpoint as damage:
        return str(damage)
    return None


def _find_model_damage(folder: Path, record: RunRecord) -> str | None:
    """The damage of the model that a finished run published, in words; None if it is complete."""
    if record.model_files is None:  # Older versions did not note these files.
        return None if any(folder.glob("model*.safetensors")) else "model.safetensors is missing"
    try:
        return find_damage(folder, record.model_files)
    except (OSError, ValueError):
        return f"{RUN_RECORD} does not tell its model's files"


def is_at_home(checkpoint: Path, folder: Path) -> bool:
    """True if a checkpoint lies directly in the output folder."""
    return checkpoint.resolve().parent == folder.resolve()


def holds_run(folder: Path) -> bool:
    """True if a folder has a run.json or a checkpoint."""
    return (folder / RUN_RECORD).exists() or bool(checkpoint_folders(folder))


def _check_place(folder: Path, checkpoint: Path, facts: Facts, record: RunRecord | None) -> None:
    """Refuse to resume from a checkpoint if the output folder has another run, or later steps.

    Args:
        folder: the output folder.
        facts: those of the checkpoint.
        record: that of the run in the folder.

    Raises:
        InputError: the folder has a run of its own, or later checkpoints of the same run.
    """
    if not is_at_home(checkpoint, folder):
        # The user may have copied the best checkpoint here. A run.json is allowed only if the same
        # run began here before and stopped before it saved anything.
        others = [p for p in checkpoint_folders(folder) if p.name != facts.state.best_checkpoint]
        is_begun = record and not record.finished and _is_one_run(record, facts, folder)
        if others or ((folder / RUN_RECORD).exists() and not is_begun):
            raise InputError(
                f"--output_dir {folder}: holds a run of its own; resume that one with "
                "--resume_from_checkpoint auto, or name a new folder"
            )
    step = facts.step
    later = [path.name for path in checkpoint_folders(folder) if step < step_of(path) < math.inf]
    if later:
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: {', '.join(later)} came after it; move them "
            "away, or resume with auto"
        )


def _require_best(folder: Path, checkpoint: Path, facts: Facts) -> None:
    """Refuse to resume if the best checkpoint so far is not in the output folder.

    Args:
        folder: the output folder.
        facts: those of the checkpoint.

    Raises:
        InputError: the best checkpoint is not there, is damaged, or is one of another run.
    """
    if facts.state.best_checkpoint is None:
        return
    best, at_home = folder / facts.state.best_checkpoint, is_at_home(checkpoint, folder)
    if damage := _find_best_damage(best):
        source = checkpoint.parent / best.name
        remedy = "put it back" if at_home else f"copy {source} there"
        raise InputError(
            f"{best}: the best checkpoint so far {damage}; {remedy}, or resume from a checkpoint "
            "before it"
        )
    if not at_home:
        check_same_run(facts.identity, read_facts(best).identity, where=best)


def _is_one_run(record: RunRecord, facts: Facts, folder: Path) -> bool:
    """True if the run of a record could go on from a checkpoint."""
    try:
        check_same_run(record.identity, facts.identity, where=folder)
    except InputError:
        return False
    return True


def restore(run: Run, earlier: EarlierRun) -> None:
    """Load the state of the earlier run into this run. Every process must call this.

    Raises:
        InputError: the identities of the two runs differ, or the checkpoint does not fit.
    """
    check_same_run(earlier.identity, run.identity, where=run.folder)
    if earlier.checkpoint is None:
        run.say(f"{run.folder}: no checkpoint yet, the run begins anew")
        return
    load_training_state(run, earlier.checkpoint)
    load_trained_weights(run, earlier.checkpoint)
    run.state = earlier.state
