"""Sections and blocks for the pages of several tasks: scores of types and groups, confusion."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from tagloop.pages import charts
from tagloop.pages.page import Matrix, Picture, Section, Table
from tagloop.pages.sentences import (
    NOTHING,
    OTHER_WORDS,
    Sentence,
    Span,
    bucket,
    buckets,
    count_by,
    types_of,
)
from tagloop.pages.statistics import (
    SCORES,
    calibration,
    number_of_trials,
    resample,
    score_interval,
    scores_of,
)

MOST_TYPES, MOST_CONFUSED = 40, 15
INTERVAL_TEXT = (
    "95% is the interval that other {items} of this kind are likely to score in: a bootstrap's "
    "over {items} or Wilson's, which counts how few there are; the wider one holds."
)
SENTENCE_EDGES = (1, 6, 11, 21, 31, 51)


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """A score and its 95% interval.

    >>> with_interval(0.5, (0.4, 0.6))
    '0.5000 (0.400–0.600)'
    """
    low, high = interval
    return f"{value:.4f} ({low:.3f}–{high:.3f})"


def score_card(name: str, at: int, counts: np.ndarray, drawn: np.ndarray) -> tuple[str, str, str]:
    """A score with its interval as a card.

    Args:
        at: 0, 1 or 2 for precision, recall or F1.
        counts: numbers of right, predicted and gold spans, int [num_sentences, 3].
        drawn: sums of resampled counts, float64 [num_draws, 3].
    """
    value, (low, high) = _score(counts.sum(0), drawn, at)
    return name, f"{value:.4f}", f"95%: {low:.3f}–{high:.3f}"


def _score(totals: np.ndarray, drawn: np.ndarray, at: int) -> tuple[float, tuple[float, float]]:
    """A score and its interval, from the totals, [3], and resampled totals, [num_draws, 3]."""
    value = float(scores_of(totals)[at])
    values = scores_of(drawn, undefined=np.nan)[..., at]
    return value, score_interval(value, number_of_trials(totals)[at], values)


def type_section(sentences: Sequence[Sentence], kind: str) -> Section:
    """The section with precision, recall and F1 of every type, as a picture and a table.

    Args:
        kind: the task's word for a type: "type" or "class".
    """
    types = types_of(sentences)
    if not types:  # Nothing is there, and nothing was found.
        return Section(f"By {kind}")
    counts = count_by(sentences, lambda _, span: span[2], types)
    drawn, totals = resample(counts), counts.sum(0)
    shown, values = types[:MOST_TYPES], scores_of(totals)
    intervals = [_score(totals[at], drawn[:, at], 2)[1] for at in range(len(shown))]
    rows = [
        [
            name,
            *(f"{values[at, score]:.4f}" for score in (0, 1)),
            with_interval(values[at, 2], intervals[at]),
            *(f"{count:,}" for count in totals[at][[2, 1]]),
        ]
        for at, name in enumerate(shown)
    ]
    more = f"; the {len(shown)} most frequent of {len(types)}" if len(shown) < len(types) else ""
    drawn_scores = (("F1", 2), ("precision", 0), ("recall", 1))
    picture = Picture(
        charts.dots(
            shown,
            [(name, values[: len(shown), at]) for name, at in drawn_scores],
            intervals,
            "score",
        ),
        f"Precision, recall and F1 of every {kind}",
        f"The bar behind F1 is its 95% interval{more}.",
    )
    table = Table((kind, *SCORES, "gold", "predicted"), rows)
    return Section(f"By {kind}", "", [picture, table])


def confusion_matrix(types: Counter[tuple[str, str]], *, with_boundaries: bool = False) -> Matrix:
    """A matrix of gold types and predicted types.

    Args:
        types: the counts of pairs, as `sentences.confusion` returns them.
        with_boundaries: True if a span of the right type may have other words. These spans get a
            column of their own, so that only right spans are on the diagonal.
    """
    number: Counter[str] = Counter()
    for (gold, predicted), times in types.items():
        number[gold] += times
        number[predicted] += times if gold != predicted else 0
    nothing = [NOTHING] if number.pop(NOTHING, 0) else []
    number.pop(OTHER_WORDS, None)
    names = [name for name, _ in number.most_common(MOST_CONFUSED)]
    columns = [*names, *([OTHER_WORDS] if with_boundaries else []), *nothing]
    counts = [[types[gold, predicted] for predicted in columns] for gold in [*names, *nothing]]
    caption = "The shade is the share of the row."
    if with_boundaries:
        caption += f" {OTHER_WORDS}: the right type, but not all and only the right words."
    if nothing:
        caption += f" {NOTHING}: nothing was there, or nothing was found."
    if len(names) < len(number):
        caption += f" The {len(names)} most frequent of {len(number)} types."
    return Matrix([*names, *nothing], columns, counts, caption)


def group_blocks(
    sentences: Sequence[Sentence],
    key: Callable[[Sentence, Span], str],
    groups: Sequence[str],
    what: str,
    *,
    has_spans: bool,
) -> list[Picture | Table]:
    """A table of the scores in groups of spans, and a picture if the groups are several.

    Args:
        key, groups: as in count_by.
        what: the heading of the groups.
        has_spans: True if the model has to find spans. If False, every gold span has a predicted
            span, and the score is the share of a group's gold spans that are right.
    """
    counts = count_by(sentences, key, groups)
    scores = [*enumerate(SCORES)] if has_spans else [(1, "accuracy")]
    needed = counts if has_spans else counts[:, :, 2:]
    kept = [at for at in range(len(groups)) if needed[:, at].any()]
    if not kept:
        return []
    counts, names = counts[:, kept], [groups[at] for at in kept]
    drawn, totals = resample(counts), counts.sum(0)
    main, name_of_main = scores[-1]
    rows, intervals, values = [], [], scores_of(totals)
    for at, name in enumerate(names):
        intervals.append(_score(totals[at], drawn[:, at], main)[1])
        cells = [f"{values[at, score]:.4f}" for score, _ in scores[:-1]]
        cells.append(with_interval(values[at, main], intervals[at]))
        numbers = totals[at][[2, 1] if has_spans else [2]]
        rows.append([name, *cells, *(f"{count:,}" for count in numbers)])
    counted = ("gold", "predicted") if has_spans else ("number",)
    header = (what, *(name for _, name in scores), *counted)
    if len(names) == 1:  # A picture of one group compares nothing.
        return [Table(header, rows)]
    svg = charts.columns(names, values[:, main], intervals, ylabel=name_of_main, xlabel=what)
    return [Picture(svg, f"{name_of_main} by {what}"), Table(header, rows)]


def length_blocks(
    sentences: Sequence[Sentence], what: str, *, has_spans: bool
) -> list[Picture | Table]:
    """The scores in groups of sentences of similar length; arguments as in group_blocks."""
    return group_blocks(
        sentences,
        lambda sentence, _: bucket(len(sentence.words), SENTENCE_EDGES),
        buckets(SENTENCE_EDGES),
        what,
        has_spans=has_spans,
    )


def calibration_section(parts: Sequence[tuple[str, np.ndarray, np.ndarray]]) -> Section:
    """The section that compares probabilities with the share of right predictions.

    Args:
        parts: for every kind of prediction its name, the probabilities, float [num_predictions],
            and which predictions are right, bool [num_predictions].
    """
    series, rows = [], []
    for name, probabilities, is_right in parts:
        bins, error = calibration(probabilities, is_right)
        series.append((name, bins))
        shares = (probabilities.mean(dtype=float), is_right.mean(), error)
        rows.append((name, *(f"{share:.4f}" for share in shares), f"{len(is_right):,}"))
    header = ("", "mean probability", "right", "calibration error", "number")
    text = (
        "The probability of a predicted label beside how often it is right. Below the dotted line "
        "the model is surer than it is right."
    )
    picture = Picture(charts.reliability(series), "Accuracy over probability")
    return Section("Calibration", text, [picture, Table(header, rows)])
