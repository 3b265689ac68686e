"""An output folder -> what the run predicted, beside the gold answers.

    outcome = read_outcome(Path("runs/mine"))

What a run does not write down comes from its data and its saved model: again.py. What cannot be
had is left out, and a note says why.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tagloop.data.words import schemes
from tagloop.errors import InputError
from tagloop.files import read_json
from tagloop.pages.sentences import Sentence, to_spans


@dataclass
class Outcome:
    """What a run was, what it measured, and what it predicted.

    Attributes:
        record: run.json; {} for a folder that was only scored into.
        results: all_results.json.
        metrics: the lines of metrics.jsonl.
        task: ner, chunk, pos or classification.
        split: where the sentences are from; None if there are none.
        sentences: with words that have a gold tag, else rows with a class.
        rows: of each sentence the row of its split, from 0.
        numbers: gold and predicted numbers of a regression, float [num_rows, 2].
        probabilities: of what was predicted for a word or row, float [num_predictions].
        is_right: bool [num_predictions], and whether it is part of an entity (in_span).
        training: the words of each span of the training data, and its types there.
        notes: what is left out, and why.
    """

    folder: Path
    record: dict
    results: dict
    metrics: list[dict]
    task: str
    split: str | None = None
    sentences: list[Sentence] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    numbers: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    is_right: np.ndarray | None = None
    in_span: np.ndarray | None = None
    training: dict[str, set[str]] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def options(self) -> dict:
        return self.record.get("options", {})

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def has_spans(self) -> bool:
        """True where what is predicted has words: entities and chunks."""
        return self.task in ("ner", "chunk")


def read_outcome(folder: Path) -> Outcome:
    """Read the files of a run.

    Raises:
        InputError: this is no output folder, or predictions.conll was edited.
    """
    record, results = read_json(folder / "run.json"), read_json(folder / "all_results.json")
    if not (record or results or (folder / "predictions.conll").is_file()):
        raise InputError(f"{folder}: holds no run; name the output folder of train_loop.py")
    task = record.get("options", {}).get("task_name", "ner")
    outcome = Outcome(folder, record, results, _read_metrics(folder), task)
    _read_predictions(outcome)
    if not record:
        outcome.notes.append("run.json is missing: nothing is known of the training and its data")
    elif not record.get("finished"):
        outcome.notes.append("the run is not finished: it has left no predictions yet")
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
            continue  # the last line of a killed run may be cut
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            lines.append(values)
    return lines


def _read_predictions(outcome: Outcome) -> None:
    """The sentences of predictions.conll, if their words have gold tags of this task."""
    path = outcome.folder / "predictions.conll"
    if outcome.options.get("predict_file") or not path.is_file():
        return  # words to tag replace the test split; their gold tags may be of another kind
    found = read_conll(path)
    if not outcome.record and any(not _marks_spans(tags) for _, *tags in found):
        outcome.task = "pos"
    outcome.sentences = [
        Sentence(words, to_spans(gold, outcome.task), to_spans(predicted, outcome.task))
        for words, gold, predicted in found
    ]
    outcome.rows = [*range(len(found))]
    outcome.split = "test" if found else None


def _marks_spans(sides: list[list[str]]) -> bool:
    return all(tag == "O" or schemes.is_span_tag(tag) for side in sides for tag in side)


def read_conll(path: Path) -> list[tuple[list[str], list[str], list[str]]]:
    """Words, gold and predicted tags of every sentence; empty if there are no gold tags.

    Raises:
        InputError: a line that write_predictions did not write.
    """
    sentences, words, gold, predicted = [], [], [], []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if line:
            cells = line.rsplit(" ", 2)
            if len(cells) == 2:
                return []
            if len(cells) < 2:
                raise InputError(f"{path}:{number}: no word with its tags; was the file edited?")
            for side, cell in zip((words, gold, predicted), cells, strict=True):
                side.append(cell)
        elif words:
            sentences.append((words, gold, predicted))
            words, gold, predicted = [], [], []
    return sentences
