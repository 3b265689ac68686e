"""The output folder: locked before the run computes anything; every file is written as a whole.

metrics.jsonl                      one line per log and evaluation
all_ / train_ / eval_ / test_results.json
predictions.*                      named and written by the task
run.json                           options without secrets, versions, data, device, results
README.md                          the model card
"""

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from tagloop.checkpoints.checkpoint import checkpoint_folders, delete, is_ours, prune
from tagloop.checkpoints.resume import RUN_RECORD, EarlierRun, holds_run, is_at_home
from tagloop.checkpoints.save import how_many
from tagloop.checkpoints.share import WholeWeights
from tagloop.errors import InputError
from tagloop.files import read_json, remove, replace_files, write_json, write_text
from tagloop.models.saving import write_model
from tagloop.options.config import Config
from tagloop.outcome.predictions_file import write_predictions_file
from tagloop.outcome.results import Results
from tagloop.output.card import is_own_card, write_card
from tagloop.output.environment import describe_environment
from tagloop.output.hub import check_upload
from tagloop.output.lock import LOCK, PATIENCE, Lock
from tagloop.output.own_files import (
    CARD,
    EVALUATION,
    check_checkpoints,
    check_content,
    contents,
    evaluation_of,
    find_leftovers,
    is_own_model,
    names_of_run,
)
from tagloop.output.trackers import track
from tagloop.processes.agree import on_main
from tagloop.run import Run
from tagloop.tasks.task import Scores


@contextlib.contextmanager
def claim(config: Config, accelerator: Accelerator) -> Iterator[Path]:
    """Lock the output folder for this run until the end of the block. Every process must call this.

    Raises:
        InputError: on every process: the folder cannot be written, another run is writing there,
            or the folder has files of another run or of the user.
    """
    locks = []

    def take() -> Path:
        lock, folder = _lock(config)
        locks.append(lock)
        check_content(config, folder)
        check_upload(config, folder)
        return folder

    try:
        yield on_main(accelerator, take)
    finally:
        for lock in locks:
            lock.release()


def _lock(config: Config) -> tuple[Lock, Path]:
    """Lock --output_dir, or the first empty folder of runs/TASK-1, runs/TASK-2, ..."""
    for number in itertools.count(1):
        folder = Path(config.output_dir or f"runs/{config.task_name}-{number}")
        if config.output_dir is None and folder.exists() and contents(config, folder):
            continue
        try:
            patience = PATIENCE if config.output_dir else 0
            lock = Lock(folder, patience=patience, say=print)
        except InputError:
            if config.output_dir:
                raise
            continue  # Another run has just begun in this folder.
        except OSError as error:
            raise InputError(
                f"--output_dir {folder}: cannot be written: {error.strerror}"
            ) from None
        # Another run may have ended in this folder before this run could lock it.
        if config.output_dir is None and contents(config, folder):
            lock.release()
            continue
        return lock, folder


def start(run: Run, earlier: EarlierRun | None) -> None:
    """Write run.json, after files of an overwritten run are deleted. Main process only.

    Args:
        earlier: the run that is resumed; None for a new run.

    Raises:
        InputError: a file has the name of a coming checkpoint.
        OSError: a file cannot be written or deleted.
    """
    if not run.config.do_train:
        is_other_run = holds_run(run.folder) and not is_own_model(run.config, run.folder)
        if run.config.overwrite_output_dir and is_other_run:
            _clear(run)
        return
    check_checkpoints(run)
    for name in find_leftovers(run.folder, run.task.prediction_files) - {LOCK}:
        remove(run.folder / name)
    if run.config.overwrite_output_dir:
        _clear(run)
    checkpoint = earlier.checkpoint if earlier else None
    kept = []
    if checkpoint:
        # The earlier run may have been killed before it pruned, or may have had another limit.
        spare = [checkpoint.name, run.state.best_checkpoint]
        prune(run.folder, keep=how_many(run.config), spare=spare, say=run.say)
        at_home = is_at_home(checkpoint, run.folder)
        kept = _lines_until(
            run.state.step, (run.folder if at_home else checkpoint.parent) / "metrics.jsonl"
        )
    write_json(run.folder / RUN_RECORD, _record(run) | {"finished": False})
    # A resumed run writes the lines of the updates after its checkpoint again.
    write_text(run.folder / "metrics.jsonl", "".join(kept))


def _clear(run: Run) -> None:
    """Delete the files of the run that is overwritten, and no others."""
    for folder in checkpoint_folders(run.folder):
        if is_ours(folder):
            delete(folder)
        else:
            run.say(f"{folder}: is left; it has no manifest of a checkpoint")
    if is_own_card(run.folder / CARD):
        (run.folder / CARD).unlink()
    for name in names_of_run(run.config, run.folder):
        remove(run.folder / name)


def _lines_until(step: int, path: Path) -> list[str]:
    """The lines of a metrics.jsonl up to a step; [] if that is no plain file."""
    kept = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # The last line of a killed run may be incomplete.
    return kept


def write_trained_model(run: Run) -> dict[str, dict]:
    """Write the model into the output folder. Every process must call this.

    Returns:
        Size and sha256 of every file of the model, by name.

    Raises:
        RunStopped: on every process, if a file cannot be written.
    """
    weights = WholeWeights(run)
    model = run.accelerator.unwrap_model(run.model, keep_torch_compile=False)

    def write_all() -> dict[str, dict]:
        with weights as tensors:

            def write(into: Path) -> None:
                write_model(into, model, tensors, run.task.processors, original_names=True)

            return replace_files(run.folder, write, name="model")

    weights.serve()
    return on_main(run.accelerator, write_all)


def finish(
    run: Run,
    model_files: dict[str, dict],
    scores: dict[str, Scores],
    predictions: dict[str, dict[str, np.ndarray]],
) -> Results:
    """Write predictions and results, then mark the run finished. Main process only.

    Args:
        model_files: the result of `write_trained_model`; empty if the run did not train.
        scores: the scores by part of the run: "train", "eval", "test".
        predictions: by split and name, [num_predictions of the split, ...] each.

    Returns:
        The content of all_results.json, with the folder and the scores by type.

    Raises:
        WRITE_ERRORS: a file cannot be written.
    """
    for split in run.task.written_splits:  # --predict_file may replace predictions of the test.
        if split in predictions:
            run.task.write(run.folder, split, predictions[split])
    if run.config.do_train:
        _keep_for_the_report(run, predictions)
    everything = {}
    if not run.config.do_train:
        evaluation, is_own = evaluation_of(run), is_own_model(run.config, run.folder)
        if is_own or read_json(run.folder / EVALUATION) == evaluation:
            everything = read_json(run.folder / "all_results.json")
        if not is_own:
            write_json(run.folder / EVALUATION, evaluation)
    for part, each in scores.items():
        named = {f"{part}_{name}": value for name, value in each.values.items()}
        write_json(run.folder / f"{part}_results.json", named)
        everything |= named
    write_json(run.folder / "all_results.json", everything)
    # The trackers already have the evaluations during training.
    fresh = [p for p in scores if p != "eval" or not run.config.do_train]
    track(run, {f"{part}_{name}": v for part in fresh for name, v in scores[part].values.items()})
    by_type = {part: each.by_type for part, each in scores.items() if each.by_type}
    if run.config.do_train:
        record = _record(run)
        write_card(run, scores, record["environment"])
        outcome = {"finished": True, "results": everything, "by_type": by_type}
        outcome["model_files"] = model_files
        write_json(run.folder / RUN_RECORD, record | outcome)
        if not run.config.checkpointing_steps:  # The best model or a signal needed checkpoints.
            for folder in filter(is_ours, checkpoint_folders(run.folder)):
                delete(folder)
    return Results(everything, run.folder, by_type)


def _keep_for_the_report(run: Run, predictions: dict[str, dict[str, np.ndarray]]) -> None:
    """Write predictions.npz for the first split that was predicted and has targets."""
    for split in ("test", "validation"):
        if split in predictions and run.task.examples[split].target_weights.any():
            fingerprint = run.task.fingerprints[split]
            write_predictions_file(run.folder, split, fingerprint, predictions[split])
            break


def _record(run: Run) -> dict:
    """The content of run.json, without the results."""
    return {
        "identity": run.identity,
        "fingerprints": run.task.fingerprints,  # A resume may change the test data.
        "global_batch_size": run.global_batch_size,
        "options": run.config.public(),
        "environment": describe_environment(run.accelerator),
    }
