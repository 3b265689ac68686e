"""Reads an output folder: the options, metrics, labels and predictions of a run.

    outcome = read_outcome(Path("runs/mine"))

If a part is missing or damaged, it is left out, and a note says why.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

from tagloop.errors import InputError
from tagloop.files import read_json
from tagloop.options.config import Config
from tagloop.outcome.predictions_file import Predictions, read_predictions_file

PREDICTION_FILES = ("predictions.conll", "predictions.tsv", "predictions.npz")


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


def read_outcome(folder: Path) -> Outcome:
    """Read the files of a run.

    Raises:
        InputError: the folder has no file of a run.
    """
    record, results = read_json(folder / "run.json"), read_json(folder / "all_results.json")
    if not (record or results or any((folder / name).is_file() for name in PREDICTION_FILES)):
        raise InputError(f"{folder}: holds no run; name the output folder of train_loop.py")
    outcome = Outcome(folder, record, results, _read_metrics(folder), _read_labels(folder))
    if not record:
        outcome.notes.append("run.json is missing: nothing is known of the training and its data")
    elif not record.get("finished"):
        outcome.notes.append("the run is not finished: it has left no predictions yet")
    elif record.get("fingerprints", {}).keys() == {"train"}:
        outcome.notes.append("the run had neither validation nor test data")
    else:
        outcome.predictions, reason = read_predictions_file(folder)
        if reason:
            outcome.notes.append(f"{reason}: nothing is said of the probabilities of the run")
    return outcome


def _read_metrics(folder: Path) -> list[dict]:
    try:
        text = (folder / "metrics.jsonl").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            continue  # The last line of a killed run may be incomplete.
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            lines.append(values)
    return lines


def _read_labels(folder: Path) -> list[str]:
    """The names of the labels in config.json, in the order of their ids."""
    names = read_json(folder / "config.json").get("id2label", {})
    try:
        return [names[str(number)] for number in range(len(names))]
    except (KeyError, TypeError):  # Another program wrote config.json.
        return []
