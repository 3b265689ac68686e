"""The sections of a report on answers to questions: scores, groups, errors, the worst questions."""

from collections.abc import Sequence

import numpy as np

from tagloop.pages import charts
from tagloop.pages.blocks import calibration_section
from tagloop.pages.page import Cards, MarkedSentences, Picture, Section, Table, mark
from tagloop.pages.statistics import interval, resample
from tagloop.tasks.qa.answers import QuestionAnswers

CURVES = ("f1", "exact", "exact_match")  # scores of evaluations that are drawn over updates
MOST_QUESTIONS = 25


def build_sections(answers: QuestionAnswers) -> list[Section]:
    """The sections about the predicted answers."""
    return [
        _scores(answers),
        *(
            Section(one.title, "", _group_blocks(answers, one.of_items, one.names, one.what))
            for one in answers.groupings
        ),
        _errors(answers),
        calibration_section([("questions", answers.probabilities, answers.exact > 0)]),
        _worst(answers),
    ]


def _percent(values: np.ndarray) -> tuple[float, tuple[float, float]]:
    """The mean of scores in percent, and the interval that resampled questions score in."""
    drawn = resample(np.stack([values, np.ones_like(values)], axis=1))
    low, high = interval(100 * drawn[:, 0] / drawn[:, 1])
    return 100 * float(values.mean()), (low, high)


def _scores(answers: QuestionAnswers) -> Section:
    cards = []
    for name, values in (("F1", answers.f1), ("exact match", answers.exact)):
        value, (low, high) = _percent(values)
        has_width = low < high  # An interval without width proves nothing.
        shown = f"95%: {low:.1f}–{high:.1f}" if has_width else "too few questions for an interval"
        cards.append((name, f"{value:.2f}", shown))
    cards.append(("questions", f"{len(answers.f1):,}", ""))
    text = (
        f"Of {answers.where}, in percent, as SQuAD's official script computes them. 95% of the "
        "scores of resampled questions lie in the interval."
    )
    return Section("Scores", text, [Cards(cards)])


def _group_blocks(
    answers: QuestionAnswers, groups: Sequence[str], order: Sequence[str], what: str
) -> list[Picture | Table]:
    """A table of the scores in groups of questions, and a picture if the groups are several.

    Args:
        groups: the group of every question.
        order: the names of all groups.
        what: the heading of the groups.
    """
    rows, names, values, intervals = [], [], [], []
    for name in order:
        members = np.array([group == name for group in groups])
        if not members.any():
            continue
        value, (low, high) = _percent(answers.f1[members])
        exact = 100 * answers.exact[members].mean()
        shown = f"{value:.2f}" + (f" ({low:.1f}–{high:.1f})" if low < high else "")
        cells = (f"{exact:.2f}", shown, f"{members.sum():,}")
        rows.append((name, *cells))
        names.append(name)
        values.append(value / 100)
        intervals.append((low / 100, high / 100))
    table = Table((what, "exact", "F1", "number"), rows)
    if len(names) == 1:  # A picture of one group compares nothing.
        return [table]
    svg = charts.columns(names, np.array(values), intervals, ylabel="F1 (1 is 100%)", xlabel=what)
    return [Picture(svg, f"F1 by {what}"), table]


def _errors(answers: QuestionAnswers) -> Section:
    has_answer, gives = answers.has_answer, np.array([bool(text) for text in answers.found])
    is_exact, overlaps = answers.exact > 0, answers.f1 > 0
    kinds = (
        ("right", has_answer & is_exact),
        ("a part of the answer, or more than the answer", has_answer & ~is_exact & overlaps),
        ("another answer", has_answer & gives & ~overlaps),
        ("no answer, although the question has one", has_answer & ~gives & ~is_exact),
        ("rightly no answer", ~has_answer & ~gives),
        ("an answer, although the question has none", ~has_answer & gives),
    )
    total = len(has_answer)
    rows = [
        (name, f"{members.sum():,}", f"{members.sum() / total:.1%}")
        for name, members in kinds
        if members.any()
    ]
    return Section("Kinds of answers", "", [Table(("", "questions", "share"), rows)])


def _worst(answers: QuestionAnswers) -> Section:
    """The section with the wrong answers of highest probability."""
    wrong = np.flatnonzero(answers.f1 == 0)
    order = wrong[np.argsort(-answers.probabilities[wrong], kind="stable")][:MOST_QUESTIONS]
    shown = []
    for number in order.tolist():
        sentence, gold = answers.sentences[number], answers.golds[number]
        heading = f"row {answers.rows[number] + 1:,}: {answers.questions[number]} – "
        heading += f"{answers.found[number] or 'no answer'} ({answers.probabilities[number]:.2f})"
        heading += f" instead of {gold[0] if gold else 'no answer'}"
        lines = [
            ("gold", mark(sentence, sentence.gold, sentence.gold)),
            ("predicted", mark(sentence, sentence.predicted, sentence.gold)),
        ]
        shown.append((heading, lines))
    text = f"{len(wrong):,} of {len(answers.f1):,} answers have no word of a gold answer."
    places = answers.places_of(order.tolist())
    return Section("Wrong, and surest of it", text, [MarkedSentences(shown, places)])
