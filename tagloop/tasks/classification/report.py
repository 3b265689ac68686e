"""The sections of a report on classes or numbers: scores, confusion, the worst rows."""

from collections import Counter

import numpy as np

from tagloop.pages import charts
from tagloop.pages.blocks import (
    INTERVAL_TEXT,
    calibration_section,
    confusion_matrix,
    length_blocks,
    score_card,
    type_section,
)
from tagloop.pages.page import Cards, MarkedSentences, Picture, Section, Table, mark
from tagloop.pages.sentences import confusion, count_by, types_of
from tagloop.pages.statistics import interval, resample
from tagloop.tasks.classification.answers import RowAnswers, moments_of, pearson_of

CURVES = ("accuracy", "macro_f1", "pearson")  # scores of evaluations that are drawn over updates
MOST_ROWS = 25


def build_sections(answers: RowAnswers) -> list[Section]:
    """The sections about the predicted classes or numbers."""
    if answers.numbers is not None:
        return [_numbers(answers)]
    is_right = answers.is_right
    return [
        _scores(answers),
        type_section(answers.sentences, "class"),
        _errors(answers),
        Section(
            "By length", "", length_blocks(answers.sentences, "words in the text", has_spans=False)
        ),
        calibration_section([("rows", answers.probabilities, is_right)]),
        _worst(answers, is_right),
    ]


def _scores(answers: RowAnswers) -> Section:
    counts = count_by(answers.sentences, lambda *_: "", [""])[:, 0]
    drawn = resample(counts)
    number = f"of {len(types_of(answers.sentences))} classes"
    cards = [score_card("accuracy", 2, counts, drawn), ("rows", f"{len(counts):,}", number)]
    text = f"Of {answers.where}. {INTERVAL_TEXT.format(items='rows')}"
    return Section("Scores", text, [Cards(cards)])


def _errors(answers: RowAnswers) -> Section:
    types, _ = confusion(answers.sentences)
    blocks = [confusion_matrix(types)]
    wrong = Counter({pair: times for pair, times in types.items() if len({*pair}) > 1})
    if len(types_of(answers.sentences)) > 2:
        rows = [(gold, predicted, f"{n:,}") for (gold, predicted), n in wrong.most_common(12)]
        blocks.append(Table(("gold", "predicted", "times"), rows))
    return Section("Errors", "", blocks)


def _worst(answers: RowAnswers, is_right: np.ndarray) -> Section:
    """The section with the wrong rows of highest probability."""
    wrong = np.flatnonzero(~is_right)
    order = wrong[np.argsort(-answers.probabilities[wrong], kind="stable")][:MOST_ROWS]
    shown = []
    for row in order.tolist():
        sentence, sure = answers.sentences[row], answers.probabilities[row]
        heading = f"row {answers.rows[row] + 1:,}: {sentence.predicted[0][2]} ({sure:.2f})"
        heading += f" instead of {sentence.gold[0][2]}"
        shown.append((heading, [("text", mark(sentence, [], []))]))
    text = f"{len(wrong):,} of {len(answers.sentences):,} rows are wrong."
    places = answers.places_of(order.tolist())
    return Section("Wrong, and surest of it", text, [MarkedSentences(shown, places)])


def _numbers(answers: RowAnswers) -> Section:
    """The section about a regression: its scores, a dot for every row, and the worst rows."""
    gold, predicted = answers.numbers.T
    off = abs(gold - predicted)
    sums = moments_of(answers.numbers)
    (r, mse), (r_drawn, mse_drawn) = pearson_of(sums.sum(0)), pearson_of(resample(sums))
    cards = [
        ("Pearson's r", f"{r:.4f}", _interval_text(r_drawn, ".3f")),
        ("mean squared error", f"{mse:.4g}", _interval_text(mse_drawn, ".3g")),
        ("rows", f"{len(gold):,}", ""),
    ]
    worst = np.argsort(-off, kind="stable")[:MOST_ROWS].tolist()
    shown = [
        (
            f"row {answers.rows[row] + 1:,}: {predicted[row]:.3g} instead of {gold[row]:.3g}",
            [("text", mark(answers.sentences[row], [], []))],
        )
        for row in worst
    ]
    picture = Picture(
        charts.points(gold, predicted, xlabel="gold", ylabel="predicted"),
        "Predicted over gold numbers",
    )
    blocks = [Cards(cards), picture, MarkedSentences(shown, answers.places_of(worst))]
    text = (
        f"Of {answers.where}. 95% of the scores of resampled rows lie in the interval "
        f"({len(r_drawn):,} bootstrap samples). The rows below have the largest errors."
    )
    return Section("Scores", text, blocks)


def _interval_text(drawn: np.ndarray, shape: str) -> str:
    """The interval of a score of numbers; an interval without width proves nothing and is left out.

    >>> _interval_text(np.array([0.5, 0.5]), ".3f")
    'too few rows for an interval'
    """
    low, high = (format(end, shape) for end in interval(drawn))
    return "too few rows for an interval" if low == high else f"95%: {low}–{high}"
