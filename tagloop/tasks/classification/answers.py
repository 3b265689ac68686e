"""Gold and predicted classes or numbers of a finished run, for its report. No model is loaded."""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import ClassVar, Self

import numpy as np

from tagloop.data.places import places_of_rows
from tagloop.data.rows import Rows, load_rows
from tagloop.options.config import Config
from tagloop.outcome.predictions_file import Predictions
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers
from tagloop.pages.sentences import Sentence
from tagloop.pages.statistics import Measure
from tagloop.sample.corpus import build_sample_texts
from tagloop.tasks.classification.columns import choose_columns

ROUNDING = 1e-12  # Of a sum of squares; a spread below this share of it is a rounding error.


@dataclass(kw_only=True)
class RowAnswers(Answers):
    """Answers for rows of texts. A class is a span over all words of its row.

    Attributes:
        probabilities: the probability of the predicted class of every row, float32 [num_rows];
            None for numbers.
        numbers: the gold number and the predicted number of every row, float64 [num_rows, 2]; None
            for classes.
    """

    probabilities: np.ndarray | None = None
    numbers: np.ndarray | None = None
    item: str = "row"
    gold_name: ClassVar[str] = "gold labels"

    @property
    def is_right(self) -> np.ndarray:
        """True for every row whose predicted class is the gold class, bool [num_rows]."""
        return np.array([one.gold == one.predicted for one in self.sentences])

    @property
    def identities(self) -> list[Hashable]:
        if self.numbers is None:
            return super().identities
        words = (tuple(one.words) for one in self.sentences)
        return [*zip(words, self.numbers[:, 0].tolist(), strict=True)]

    @cached_property
    def measures(self) -> list[Measure]:
        if self.numbers is None:
            return super().measures
        sums = moments_of(self.numbers)
        return [
            Measure(name="Pearson's r", logged="pearson", sums=sums, of=lambda s: pearson_of(s)[0]),
            Measure(
                name="mean squared error",
                logged="mse",
                sums=sums,
                of=lambda s: pearson_of(s)[1],
                lower_is_better=True,
                shape=".4g",
                interval_shape=".3g",
            ),
        ]

    @cached_property
    def errors(self) -> np.ndarray:
        if self.numbers is None:
            return (~self.is_right).astype(int)
        gold, predicted = self.numbers.T
        return abs(gold - predicted)

    def change(self, other: Self, at: int) -> str:
        if self.numbers is not None:
            gold, mine = self.numbers[at]
            return f"{mine:.3g} → {other.numbers[at, 1]:.3g}, gold {gold:.3g}"
        one = self.sentences[at]
        others = other.sentences[at].predicted[0][2]
        return f"{one.predicted[0][2]} → {others}, gold {one.gold[0][2]}"


def moments_of(numbers: np.ndarray) -> np.ndarray:
    """What Pearson's r and the squared error are computed from, summed over rows.

    Args:
        numbers: float64 [num_rows, 2], gold and predicted.

    Returns:
        float64 [num_rows, 7].
    """
    # The scores are the same for moved numbers, and small numbers lose less to rounding.
    x, y = (numbers - numbers[:, :1].mean()).T if len(numbers) else numbers.T
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, (x - y) ** 2], axis=1)


def pearson_of(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlation and mean squared error, [...] each, from sums of moments, [..., 7].

    The correlation with numbers that are all equal is 0.
    """
    number, x, y, xx, yy, xy, squares = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        spreads = [own - total * total / number for own, total in ((xx, x), (yy, y))]
        # What rounding leaves of the spread of equal numbers is no spread.
        varies = (spreads[0] > ROUNDING * xx) & (spreads[1] > ROUNDING * yy)
        value = (xy - x * y / number) / np.sqrt(spreads[0] * spreads[1])
        return np.where(varies, np.clip(value, -1, 1), 0.0), squares / number


def read_answers(outcome: Outcome) -> RowAnswers | None:
    """Read gold answers from the data, which is read again, and predictions from predictions.npz.

    Returns:
        The answers; None if a part is missing or does not fit, and a note of the outcome says why.
    """
    if outcome.predictions is None:
        return None
    split, fingerprint, outputs = outcome.predictions
    config = outcome.config
    rows = outcome.read_again(
        lambda: load_rows(config, partial(choose_columns, config), build_sample_texts)
    )
    if rows is None:
        return None
    if rows.fingerprints.get(split) != fingerprint:
        outcome.note_other_data(split)
        return None
    if not fits(outcome.predictions, len(rows.splits[split]), len(outcome.labels)):
        outcome.notes.append(
            f"predictions.npz does not fit the {split} data and the model's labels"
        )
        return None
    answers = _join(config, rows, split, outputs, outcome.labels)
    if not answers.rows:
        outcome.notes.append(f"no row of the {split} data has a gold answer")
        return None
    return answers


def fits(predictions: Predictions, num_rows: int, num_labels: int) -> bool:
    """True if the outputs are those of a classification or regression of num_rows rows."""
    numbers = predictions.outputs.get("number")
    if numbers is not None:
        return len(numbers) == num_rows and bool(np.isfinite(numbers).all())
    return predictions.fit("class", number=num_rows, num_labels=num_labels)


def _join(
    config: Config, rows: Rows, split: str, outputs: dict[str, np.ndarray], labels: list[str]
) -> RowAnswers:
    """Join the rows of a split with their predictions."""
    has_classes = "class" in outputs
    label2id = {name: number for number, name in enumerate(labels)} if has_classes else None
    cells = rows.splits[split]["label"]
    gold = [rows.value_of(cell, "label", label2id) for cell in cells]
    known = [row for row, value in enumerate(gold) if value is not None]
    answers = RowAnswers(
        split=split,
        sentences=[],
        rows=known,
        score="accuracy" if has_classes else None,
        logged_score="accuracy" if has_classes else "pearson",
        spans_are_parts=False,
    )
    answers.places = places_of_rows(config, rows.stored[split], known)
    for row in rows.splits[split].select(known):
        words = " ".join(filter(None, (row["text"], row["pair"]))).split() or ["_"]
        answers.sentences.append(Sentence(words, [], []))
    if not has_classes:
        predicted = outputs["number"][known].astype(float)
        answers.numbers = np.stack([np.array([gold[row] for row in known]), predicted], axis=1)
        return answers
    for row, sentence in zip(known, answers.sentences, strict=True):
        end = len(sentence.words)
        sentence.gold.append((0, end, labels[gold[row]]))
        sentence.predicted.append((0, end, labels[int(outputs["class"][row])]))
    answers.probabilities = outputs["probability"][known]
    answers.guessing_loss = math.log(len(labels))
    given = {sentence.predicted[0][2] for sentence in answers.sentences}
    if len(given) == 1 and len({sentence.gold[0][2] for sentence in answers.sentences}) > 1:
        answers.warnings.append(
            f"The model gave every row of {answers.where} the same class, {given.pop()}: it has "
            "not learned to tell rows apart. More epochs or another --learning_rate may help."
        )
    return answers
