"""Reads an output folder: the options, metrics, labels and predictions of a run.

    outcome = read_outcome(Path("runs/mine"))

If a part is missing or damaged, it is left out, and a note says why.
"""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tagloop.errors import InputError
from tagloop.files import parse_json, read_json
from tagloop.options.config import Config
from tagloop.outcome.predictions_file import Predictions, read_predictions_file
from tagloop.records import is_finite, known_fields, read_record
from tagloop.wording import first_line

Result = TypeVar("Result")

RUN_RECORD = "run.json"
PREDICTION_FILES = ("predictions.conll", "predictions.tsv", "predictions.npz")


@dataclass(frozen=True)
class _Record:
    """The parts of run.json that a report reads; a part may be missing in older versions."""

    identity: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    global_batch_size: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    finished: bool = False


@dataclass(frozen=True)
class _Identity:
    """The part of an identity that a report reads."""

    data: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Environment:
    """The part of an environment whose type a report needs to know."""

    versions: dict[str, str] = field(default_factory=dict)


@dataclass
class Outcome:
    """The files of a run in its output folder.

    Attributes:
        record: the content of run.json; {} if the run was an evaluation without training.
        results: the content of all_results.json.
        metrics: the lines of metrics.jsonl, each with its `step`.
        labels: the names of the labels of the saved model, by id; [] if no model was saved.
        predictions: the predictions of the split that was scored last; None if they cannot be
            read, and a note says why.
        notes: sentences about parts that are left out, with the reason.
    """

    folder: Path
    record: dict
    results: dict
    metrics: list[dict]
    labels: list[str]
    predictions: Predictions | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict:
        """The options of the run by name; {} without run.json."""
        return self.record.get("options", {})

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name

    @property
    def config(self) -> Config:
        """The options of the run, without --predict_file, to read its data again."""
        known = {field.name for field in dataclasses.fields(Config)}
        options = {name: value for name, value in self.options.items() if name in known}
        return dataclasses.replace(Config(**options), predict_file=None)

    @property
    def fingerprints(self) -> dict[str, str]:
        """For every split the hash of the rows that the run read.

        Older versions noted no hash of the test split.
        """
        data = self.record.get("identity", {}).get("data", {})
        return data | self.record.get("fingerprints", {})

    def read_again(self, read: Callable[[], Result]) -> Result | None:
        """What `read` gives: the data of the run, or what is made from the data.

        Returns:
            None if `read` raises an error, as the data may have been moved or damaged since the
            run. A note says so.
        """
        try:
            return read()
        except Exception as error:  # Damaged data raises errors of many kinds.
            self.notes.append(f"the data of the run cannot be read again: {first_line(error)}")
            return None

    def note_other_data(self, split: str) -> None:
        """Add a note: the data of a split is not the data that the run predicted."""
        self.notes.append(f"the {split} data has changed since the prediction: there are no scores")


def read_outcome(folder: Path) -> Outcome:
    """Read the files of a run.

    Raises:
        InputError: the folder has no file of a run.
    """
    record, reason = _read_record(folder)
    results = _numbers(read_json(folder / "all_results.json"))
    if not (record or results or any((folder / name).is_file() for name in PREDICTION_FILES)):
        several = "folders of its runs (seed_1, ...)"
        is_group = any((folder / name).is_file() for name in ("seeds.json", "folds.json"))
        wanted = several if is_group else "output folder of a training"
        raise InputError(f"{folder}: holds no run; name the {wanted}")
    outcome = Outcome(folder, record, results, _read_metrics(folder), _read_labels(folder))
    if not record:
        outcome.notes.append(f"{reason}: nothing is known of the training and its data")
    elif not record.get("finished"):
        outcome.notes.append("the run is not finished: it has left no predictions yet")
    elif record.get("fingerprints", {}).keys() == {"train"}:
        outcome.notes.append("the run had neither validation nor test data")
    else:
        outcome.predictions, reason = read_predictions_file(folder)
        if reason:
            outcome.notes.append(f"{reason}: nothing is said of the probabilities of the run")
    return outcome


def _read_record(folder: Path) -> tuple[dict, str]:
    """The content of run.json and ""; or {} and the reason why it cannot be read."""
    try:
        values = parse_json(folder / RUN_RECORD)
        record = read_record(known_fields(values, _Record), _Record)
        read_record(known_fields(record.identity, _Identity), _Identity, "identity")
        read_record(known_fields(record.environment, _Environment), _Environment, "environment")
        read_record(known_fields(record.options, Config), Config, "options")
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "is missing" if missing else f"cannot be read ({error.strerror})"
        return {}, f"{RUN_RECORD} {reason}"
    except (ValueError, RecursionError) as error:
        is_json = not isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError)
        return {}, f"{RUN_RECORD} is damaged ({error if is_json else 'it holds no JSON'})"
    return values, ""


def _numbers(values: dict) -> dict:
    """The entries that are finite numbers or null; a run writes no others."""
    return {
        name: value
        for name, value in values.items()
        if value is None or (type(value) in (int, float) and is_finite(value))
    }


def _read_metrics(folder: Path) -> list[dict]:
    path = folder / "metrics.jsonl"
    try:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue  # The last line of a killed run may be incomplete.
        if isinstance(values, dict) and type(values.get("step")) is int:
            lines.append(_numbers(values))
    lines = [line for line in lines if "step" in line]
    return lines


def _read_labels(folder: Path) -> list[str]:
    """The names of the labels in config.json, in the order of their ids."""
    names = read_json(folder / "config.json").get("id2label")
    if not isinstance(names, dict):
        return []
    labels = [names.get(str(number)) for number in range(len(names))]
    # Another program may have written config.json.
    return labels if all(isinstance(label, str) for label in labels) else []
