"""Decides which files in an output folder belong to a run; no other file is replaced or deleted."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from tagloop.checkpoints.checkpoint import NAME, is_ours
from tagloop.checkpoints.resume import RUN_RECORD, holds_run
from tagloop.errors import InputError
from tagloop.files import is_plain, read_json, real_path
from tagloop.models.saving import is_model_file
from tagloop.options.config import FIELDS, Config
from tagloop.output.lock import LOCK
from tagloop.run import Run
from tagloop.tasks import TASKS
from tagloop.tasks.task import prediction_files_of

CARD = "README.md"
PREDICTIONS = "predictions.npz"
EVALUATION = "evaluation.json"  # The model that was scored, if the run did not train.
WEIGHTS = (".safetensors", "config.json")  # endings of the files without which no model is left
PAGES = ("metrics.jsonl", "report.html", PREDICTIONS, EVALUATION)
OLD_MODEL_FILES = (
    "model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json",
)  # fmt: skip
# The temporary files that a run or an evaluation leaves if it is killed in its first write.
FIRST_WRITE = re.compile(r"tmp-(\d+-.*|run\.json|evaluation\.json)")
RESULTS = tuple(f"{part}_results.json" for part in ("all", "train", "eval", "test"))


def is_own_file(name: str, prediction_files: tuple[str, ...]) -> bool:
    """True for the name of a file that a run writes.

    It is False for the card, which may belong to the user.

    Args:
        prediction_files: names of the prediction files of the task.
    """
    return name in (RUN_RECORD, *PAGES, *RESULTS, *prediction_files) or is_model_file(name)


def names_of_run(config: Config, folder: Path) -> list[str]:
    """Names of the files of the run or evaluation in a folder, run.json last; none without one.

    Files of a model are those that run.json notes: a user may keep a vocab.txt there.
    """
    if not any(os.path.lexists(folder / name) for name in (RUN_RECORD, EVALUATION)):
        return []
    record = read_json(folder / RUN_RECORD)
    options, noted = record.get("options"), record.get("model_files")
    task_name = options.get("task_name") if isinstance(options, dict) else None
    if not isinstance(task_name, str) or task_name not in TASKS:
        task_name = config.task_name
    if not isinstance(noted, dict):  # of a version that did not note them, or damaged
        noted = OLD_MODEL_FILES if (folder / RUN_RECORD).exists() else ()
    model_files = [name for name in noted if is_model_file(name)]
    return [*PAGES, *RESULTS, *prediction_files_of(task_name), *model_files, RUN_RECORD]


def is_temporary_name(name: str, prediction_files: tuple[str, ...]) -> bool:
    """True for a name under which a run writes a file or folder before it gets its own name.

    Args:
        prediction_files: names of the prediction files of the task.
    """
    rest = re.sub(r"^tmp-(\d+-|replaced-|pruned-)?", "", name)
    ours = is_own_file(rest, prediction_files) or rest in (CARD, "model") or NAME.fullmatch(rest)
    return name.startswith("tmp-") and bool(ours)


def find_leftovers(folder: Path, prediction_files: tuple[str, ...]) -> set[str]:
    """Names of the files and folders that an interrupted write or a killed run left.

    In a folder that holds no run, a folder tmp-model belongs to the user. Leftovers are only links,
    whose targets stay, and the temporary files of the first writes of a run or an evaluation.

    Args:
        prediction_files: names of the prediction files of the task.
    """
    holds_any = holds_run(folder) or (folder / EVALUATION).exists()
    return {
        path.name
        for path in folder.iterdir()
        if path.name == LOCK
        or (
            is_temporary_name(path.name, prediction_files)
            and (holds_any or path.is_symlink() or FIRST_WRITE.fullmatch(path.name))
        )
    }


def check_content(config: Config, folder: Path) -> None:
    """Refuse a folder with files that this run would replace, or that would mix with its own.

    Raises:
        InputError: the message names a file that does not belong to this run, and the remedy.
    """
    names, predictions = contents(config, folder), prediction_files_of(config.task_name)
    _check_inputs(config, folder, predictions)
    if temporary := [name for name in names if is_temporary_name(name, predictions)]:
        raise InputError(
            f"{folder / temporary[0]}: a run writes its files under this name first, but no run in "
            "this folder left it; move it away, or name another --output_dir"
        )
    if not config.do_train:
        _check_evaluation(config, folder)
        return
    _check_plain(folder, [name for name in names if is_own_file(name, predictions)])
    if config.resume_from_checkpoint and not holds_run(folder):
        # Before the first start the folder may contain other files, as the log of a scheduler.
        if own := [name for name in names if is_own_file(name, predictions)]:
            raise InputError(
                f"--output_dir {folder}: holds something else than a run ({own[0]}); name the "
                "folder of the run, or a new one"
            )
    elif config.overwrite_output_dir and not names_of_run(config, folder):
        if model := [name for name in names if is_model_file(name) and name.endswith(WEIGHTS)]:
            raise InputError(
                f"--output_dir {folder}: holds {model[0]}, which no run wrote, as run.json is not "
                "there; move it away, or name another folder"
            )
    elif names and not (config.overwrite_output_dir or config.resume_from_checkpoint):
        raise InputError(
            f"--output_dir {folder}: is not empty, it holds {names[0]}; name another folder, "
            "replace the run in it with --overwrite_output_dir, or go on with "
            "--resume_from_checkpoint auto"
        )


def _check_inputs(config: Config, folder: Path, predictions: tuple[str, ...]) -> None:
    """Refuse a run that would replace a file which it reads."""
    for name, field in FIELDS.items():
        value = getattr(config, name)
        if value is None or not (field.metadata["is_path"] and field.metadata["about"] == "data"):
            continue
        path = real_path(Path(value))
        if path.parent == real_path(folder) and is_own_file(path.name, predictions):
            raise InputError(
                f"--output_dir {folder}: holds --{name} {path.name}, which this run would replace; "
                "name another folder"
            )


def _check_evaluation(config: Config, folder: Path) -> None:
    """Refuse to write scores beside the run of another model, or in place of the user's files."""
    names = (*RESULTS, EVALUATION, *prediction_files_of(config.task_name))
    _check_plain(folder, names)
    if is_own_model(config, folder):
        return
    remedy = "name another folder, or replace it with --overwrite_output_dir"
    if holds_run(folder) and Path(_name_of_model(config)).is_relative_to(folder.resolve()):
        # Its checkpoints are other models than the last one, and overwriting would delete them.
        raise InputError(
            f"--output_dir {folder}: holds the run of another model than "
            f"{config.model_name_or_path}, whose scores would replace those of the run; name "
            "another folder"
        )
    if config.overwrite_output_dir:
        return
    if holds_run(folder):
        raise InputError(f"--output_dir {folder}: holds the run of another model; {remedy}")
    existing = [name for name in names if (folder / name).exists()]
    if existing and read_json(folder / EVALUATION).get("model") != _name_of_model(config):
        raise InputError(
            f"--output_dir {folder}: holds {existing[0]}, which no evaluation of this model wrote; "
            f"{remedy}"
        )


def _check_plain(folder: Path, names: Iterable[str]) -> None:
    """Refuse a folder in which a link, device or folder has the name of a file to be written."""
    for name in names:
        path = folder / name
        if os.path.lexists(path) and not is_plain(path):
            raise InputError(
                f"{path}: is a link or no plain file, and this run would write a file there; move "
                "it away, or name another --output_dir"
            )


def _name_of_model(config: Config) -> str:
    """The model to score: its absolute folder, or its name on the hub."""
    name = config.model_name_or_path or ""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def is_own_model(config: Config, folder: Path) -> bool:
    """True if the model to score is that of the run in the output folder.

    A checkpoint of the run is another model: its scores would stand beside those of the training.
    """
    return holds_run(folder) and Path(_name_of_model(config)) == folder.resolve()


def evaluation_of(run: Run) -> dict:
    """The content of evaluation.json: the model, and sizes and times of its files of weights."""
    name = _name_of_model(run.config)
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).is_dir() else []
    facts = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    return {"model": name, "files": facts}


def contents(config: Config, folder: Path) -> list[str]:
    """Sorted names in a folder, without the leftovers of earlier runs."""
    leftovers = find_leftovers(folder, prediction_files_of(config.task_name))
    return sorted({path.name for path in folder.iterdir()} - leftovers)


def check_checkpoints(run: Run) -> None:
    """Refuse a folder in which another file or folder has the name of a coming checkpoint.

    Raises:
        InputError: the message names this file or folder.
    """
    first_epoch, _ = run.timetable.position(run.state.step)
    coming = {
        "step": range(run.state.step + 1, run.timetable.num_updates + 1),
        "epoch": range(first_epoch, run.timetable.num_epochs),
    }
    for path in run.folder.iterdir():
        kind, _, number = path.name.partition("_")
        if not NAME.fullmatch(path.name) or path.is_symlink() or is_ours(path):
            continue
        if len(number) < 20 and int(number) in coming[kind]:
            raise InputError(
                f"{path}: is no checkpoint of a run, and this run may write one there; move it "
                "away, or name another --output_dir"
            )
