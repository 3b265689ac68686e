"""Annotations that are probably wrong, found by confident learning; the page and the table of them.

Every probability here comes from a model that has not learned from the annotation. The method is
that of Northcutt, Jiang and Chuang (2021), "Confident Learning: Estimating Uncertainty in Dataset
Labels", Journal of Artificial Intelligence Research 70.
"""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tagloop.pages.page import MarkedSentences, Piece, Section, Table
from tagloop.pages.sentences import NOTHING, Span

MOST_SHOWN, MOST_PAIRS = 100, 20
HEADER = (
    "rank", "place", "row", "gold", "gold_words", "predicted", "predicted_words",
    "self_confidence", "margin", "likely", "text",
)  # fmt: skip


@dataclass(frozen=True)
class Suspect:
    """An annotation that the prediction contradicts.

    Attributes:
        row: the number of its row or sentence in the training data, from 0.
        gold, predicted: the type or class on each side; NOTHING for none.
        gold_words, predicted_words: the words that have this type; "" for none.
        self_confidence: the probability of the gold label; of several words the lowest.
        margin: the normalised margin, -1 to 1: the probability of the gold label without that of
            the likeliest other label; of several words the lowest.
        is_likely: True if confident learning counts the annotation as an error.
        text: the whole sentence or text.
        lines: the sentence on the page: (name of a line, its pieces).
    """

    row: int
    gold: str
    gold_words: str
    predicted: str
    predicted_words: str
    self_confidence: float
    margin: float
    is_likely: bool
    text: str
    lines: Sequence[tuple[str, Sequence[Piece]]] = field(repr=False, default=())


class JoinedFolds(NamedTuple):
    """What a task makes of the runs of all folds.

    Attributes:
        files: texts by the name of the file, with a prediction for every row of the training data.
        suspects: annotations that the predictions contradict.
    """

    files: Mapping[str, str]
    suspects: Sequence[Suspect]


def confident_errors(
    gold: np.ndarray, predicted: np.ndarray, gold_share: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """Which labels are errors by the confident joint.

    A label is an error if the model predicts another class at least as surely as it predicts this
    class, on average, for the examples that are labelled with it (the threshold of the class).

    Args:
        gold, predicted: ids of labels, int [num_labels].
        gold_share, share: the probabilities of the gold label and of the predicted label, float.

    Returns:
        bool [num_labels].

    >>> gold, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    >>> confident_errors(gold, predicted, np.array([.9, .1, .7, .9]), np.array([.9, .9, .7, .9]))
    array([False,  True, False, False])
    """
    number = max(gold.max(initial=-1), predicted.max(initial=-1)) + 1
    counts = np.bincount(gold, minlength=number)
    sums = np.bincount(gold, weights=gold_share, minlength=number)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return (gold != predicted) & (share >= thresholds[predicted])


def disagreements(
    gold: Sequence[Span], predicted: Sequence[Span]
) -> list[tuple[list[Span], list[Span]]]:
    """The spans that are not equal on both sides, those that overlap together, in their order.

    >>> disagreements([(0, 2, "PER"), (3, 4, "LOC")], [(0, 1, "PER"), (3, 4, "LOC")])
    [([(0, 2, 'PER')], [(0, 1, 'PER')])]
    """
    found: list[tuple[list[Span], list[Span]]] = []
    end = -1
    both = [(span, side) for side, spans in enumerate((gold, predicted)) for span in spans]
    for span, side in sorted(both):
        if span[0] >= end:
            found.append(([], []))
        found[-1][side].append(span)
        end = max(end, span[1])
    return [(own, other) for own, other in found if own != other]


def types_text(spans: Sequence[Span]) -> str:
    """The types of spans as a text."""
    return ", ".join(span[2] for span in spans) or NOTHING


def ranked(suspects: Sequence[Suspect]) -> list[Suspect]:
    """The most suspicious first: the lowest margin, then the order of the data."""
    return sorted(suspects, key=lambda one: (one.margin, one.row))


def table_text(suspects: Sequence[Suspect], places: Sequence[str]) -> str:
    """The suspects as tab-separated values under HEADER.

    Args:
        places: where each stands, as "train.conll:17"; [] if no place is known.
    """
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t", lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(HEADER)
    for number, one in enumerate(suspects):
        numbers = (f"{one.self_confidence:.4f}", f"{one.margin:.4f}")
        texts = (one.gold, one.gold_words, one.predicted, one.predicted_words)
        place = places[number] if places else ""
        likely = "yes" if one.is_likely else "no"
        cells = (number + 1, place, one.row + 1, *texts, *numbers, likely, one.text)
        writer.writerow([" ".join(str(cell).split()) for cell in cells])
    return file.getvalue()


def sections(suspects: Sequence[Suspect], places: Sequence[str]) -> list[Section]:
    """The sections of the page; arguments as in `table_text`."""
    likely = [one for one in suspects if one.is_likely]
    pairs = Counter((one.gold, one.predicted) for one in likely)
    rows = [(gold, predicted, f"{n:,}") for (gold, predicted), n in pairs.most_common(MOST_PAIRS)]
    text = (
        f"{len(suspects):,} annotations contradict what a model predicts that has not learned from "
        f"them; {len(likely):,} of these are likely errors: the model is as sure of another label "
        "as it usually is where that label is annotated (confident learning, Northcutt et al. "
        "2021). The model may be wrong, too: look at each one."
    )
    shown = []
    for number, one in enumerate(suspects[:MOST_SHOWN], start=1):
        what = f"{one.gold} or {one.predicted}?"
        if one.gold == one.predicted:
            what = f"{one.gold}, but of which words?"
        title = f"{number}. {what} margin {one.margin:+.3f}"
        shown.append((title + ("" if one.is_likely else " (not likely)"), one.lines))
    order = (
        "The margin is the probability of the annotated label without that of the likeliest other "
        "one: -1 where the model is sure that the annotation is wrong. ✗ is where both differ."
    )
    return [
        Section("Likely label errors", text, [Table(("gold", "predicted", "likely"), rows)]),
        Section(
            "The most suspicious annotations",
            order,
            [MarkedSentences(shown, places[:MOST_SHOWN])] if shown else [],
        ),
    ]
