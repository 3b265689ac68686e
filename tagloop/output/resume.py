"""Taking up an earlier run: which checkpoint, where it was, and back into that state."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tagloop.config import FORMERLY, Config
from tagloop.errors import InputError, NotFinite, OutOfMemory, RunStopped
from tagloop.files import find_damage, read_json
from tagloop.output.checkpoint import (
    UNREADABLE,
    DamagedCheckpoint,
    checkpoint_folders,
    read_state,
    step_of,
    verify,
)
from tagloop.output.identity import check_same_run
from tagloop.output.loading import load_training_state, load_weights
from tagloop.run import Run
from tagloop.training.memory import ran_out_of_memory, smaller_micro_batches
from tagloop.training.pretrained import first_line
from tagloop.training.processes import decide
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
    has_begun = isinstance(record.get("identity"), dict) and "global_batch_size" in record
    if found is None and not has_begun:
        if (folder / "run.json").exists():
            raise InputError(f"{folder / 'run.json'}: is damaged; put it back, or delete it")
        return None
    finished = by_itself and has_begun and record.get("finished") is True
    if finished and (damage := _find_model_damage(folder, record)):
        if found is None:
            raise InputError(
                f"{folder}: this run is finished, but {damage}, and no checkpoint is left; train "
                "again with --overwrite_output_dir instead of --resume_from_checkpoint"
            )
        say(f"{folder}: this run was finished, but {damage}; it goes on from {found[0].name}")
        finished = False
    checkpoint, manifest = found or (None, record | {"state": {}})
    state = read_state(manifest)
    if checkpoint and not by_itself:
        _check_place(folder, checkpoint, manifest["step"])
    best = state.best_checkpoint
    needs_best = config.load_best_model_at_end and best and not finished
    if checkpoint and needs_best and (damage := _find_best_damage(folder / best)):
        raise InputError(
            f"{folder / best}: the best checkpoint so far {damage}; put it back, or resume "
            "from a checkpoint before it"
        )
    return Earlier(
        identity=manifest["identity"],
        global_batch_size=manifest["global_batch_size"],
        finished=finished,
        results=record.get("results", {}),
        checkpoint=checkpoint,
        state=state,
    )


def settle(config: Config, earlier: Earlier | None) -> Config:
    """The options with those decided that nobody gave: a resumed run goes on as it began."""
    decided = {"packing": not config.pad_to_max_length, "group_by_length": False}
    if earlier:
        options = FORMERLY | earlier.identity["options"]
        decided = {name: options[name] for name in decided}
    given = {name: getattr(config, name) for name in decided if getattr(config, name) is not None}
    return dataclasses.replace(config, **decided | given)


def find_checkpoint(
    resume: str, output_dir: Path, say: Callable[[str], None]
) -> tuple[Path, dict] | None:
    """The checkpoint to go on from and its manifest; None: `auto`, and there is none yet.

    Args:
        resume: a folder, or "auto" for the newest good one in output_dir.
        say: told, by name, which newer ones were passed over and why.

    Raises:
        InputError: an explicit folder that is damaged; `auto`, and all are.
    """
    if resume != "auto":
        try:
            return Path(resume), verify(Path(resume))
        except DamagedCheckpoint as damage:
            raise InputError(
                f"--resume_from_checkpoint {resume}: {damage}; name another, or auto"
            ) from None
    folders = checkpoint_folders(output_dir)
    for folder in reversed(folders):
        try:
            return folder, verify(folder)
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
    decide(run.accelerator, lambda: _check_best(best))
    load_weights(run, best)


def _find_best_damage(folder: Path) -> str | None:
    if folder.is_symlink():
        return "is a link"
    try:
        verify(folder)
    except DamagedCheckpoint as damage:
        return str(damage)
    return None


def _find_model_damage(folder: Path, record: dict) -> str | None:
    """What is wrong with the model that a finished run published; None if it is whole."""
    known = record.get("model_files")
    if known is None:  # by a version that did not note them
        return None if any(folder.glob("model*.safetensors")) else "model.safetensors is missing"
    try:
        return find_damage(folder, known)
    except (OSError, *UNREADABLE):
        return "run.json does not tell its model's files"


@contextlib.contextmanager
def with_remedy(run: Run) -> Iterator[None]:
    """Say what helps a run whose numbers are not finite, or whose memory ends."""
    try:
        yield
    except NotFinite as error:
        saved = _saved(run.folder)
        weights = f"--model_name_or_path {saved[-1]} " if saved else ""
        raise RunStopped(
            f"{error}. Nothing was saved since the last checkpoint. A resumed run keeps its "
            f"options; start anew: {weights}--output_dir NEW with a lower --learning_rate, more "
            "--num_warmup_steps, or bf16 instead of fp16"
        ) from None
    except Exception as error:
        if not ran_out_of_memory(error):
            raise
        raise OutOfMemory(
            f"process {run.accelerator.process_index}, update {run.state.step}: out of memory "
            f"({first_line(error)}); {_memory_remedy(run)}"
        ) from None


def _saved(folder: Path) -> list[Path]:
    return [path for path in checkpoint_folders(folder) if step_of(path) < math.inf]


def _memory_remedy(run: Run) -> str:
    """What helps, with numbers: a resumed run may cut its global batch in another way."""
    config = run.config
    evaluating = f"--per_device_eval_batch_size (now {config.per_device_eval_batch_size})"
    if not config.do_train:
        return f"give a smaller {evaluating}"
    batch, how = config.per_device_train_batch_size * config.gradient_accumulation_steps, ""
    smaller = smaller_micro_batches(config.per_device_train_batch_size, batch)
    if smaller:
        size = smaller[0]
        how = f"--per_device_train_batch_size {size}"
        if saved := _saved(run.folder):
            how = f"{how} --resume_from_checkpoint auto, which goes on after {saved[-1].name}"
        else:
            how += f" --gradient_accumulation_steps {batch // size}"
            how += " or --auto_micro_batch"
        how = f"give {how} and learns the same; else "
    return (
        f"{how}give --gradient_checkpointing or a smaller --max_length; if it was in an "
        f"evaluation, a smaller {evaluating}"
    )


def is_at_home(checkpoint: Path, folder: Path) -> bool:
    """True if a checkpoint lies in the output folder."""
    return checkpoint.resolve().parent == folder.resolve()


def holds_run(folder: Path) -> bool:
    """True if a run was begun in a folder."""
    return (folder / "run.json").exists() or bool(checkpoint_folders(folder))


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


def restore(run: Run, earlier: Earlier) -> None:
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
