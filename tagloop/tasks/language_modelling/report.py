"""The sections of a report on a language model: perplexity, by length, the hardest texts."""

import numpy as np

from tagloop.pages.page import Cards, MarkedSentences, Section, Table, mark
from tagloop.pages.statistics import interval, resample
from tagloop.tasks.language_modelling.answers import TextAnswers, means_of

CURVES = ("accuracy", "text_accuracy")  # scores of evaluations that are drawn over updates
MOST_TEXTS = 25
FEWEST_TARGETS = 5  # The mean loss of a text with fewer targets is mostly chance.


def build_sections(answers: TextAnswers) -> list[Section]:
    """The sections about the losses of texts or blocks."""
    return [_scores(answers), _by_length(answers), _hardest(answers)]


def _scores(answers: TextAnswers) -> Section:
    drawn = resample(answers.sums)
    cards = []
    shapes = (("perplexity", ".4g"), ("accuracy", ".4f"))
    for (name, shape), value, values in zip(
        shapes, means_of(answers.sums.sum(0)), means_of(drawn), strict=True
    ):
        low, high = (format(end, shape) for end in interval(values))
        shown = "too few for an interval" if low == high else f"95%: {low}–{high}"
        cards.append((f"{answers.prefix}{name}", format(float(value), shape), shown))
    if answers.baseline is not None:
        why = "knows only how often a sub-token is there"
        cards.append(("perplexity of a unigram", f"{answers.baseline:.4g}", why))
    number = f"{answers.sums[:, 0].sum():,.0f} targets"
    cards.append((f"{answers.item}s", f"{len(answers.rows):,}", number))
    text = (
        f"Of {answers.where}. 95% of the scores of resampled {answers.item}s lie in the interval "
        f"({len(drawn):,} bootstrap samples)."
    )
    if answers.prefix:
        text += " Sentinels and ends are no targets here, as they are easy to predict."
    return Section("Scores", text, [Cards(cards)])


def _by_length(answers: TextAnswers) -> Section:
    (grouping,) = answers.groupings
    rows = []
    for name in grouping.names:
        own = answers.sums[np.array(grouping.of_items) == name]
        if len(own):
            perplexity, accuracy = means_of(own.sum(0))
            rows.append((name, f"{perplexity:.4g}", f"{accuracy:.4f}", f"{len(own):,}"))
    header = (grouping.what, "perplexity", "accuracy", f"{answers.item}s")
    return Section(grouping.title, "", [Table(header, rows)])


def _hardest(answers: TextAnswers) -> Section:
    """The section with the texts of highest mean loss."""
    enough = np.flatnonzero(answers.sums[:, 0] >= FEWEST_TARGETS)
    if answers.item == "block" or not len(enough):  # A block shows no text of its own.
        return Section("Hardest texts")
    perplexity, accuracy = means_of(answers.sums)
    order = enough[np.argsort(-perplexity[enough], kind="stable")][:MOST_TEXTS]
    shown = [
        (
            f"text {answers.rows[at] + 1:,}: perplexity {perplexity[at]:.4g}, accuracy "
            f"{accuracy[at]:.2f}",
            [("text", mark(answers.sentences[at], [], []))],
        )
        for at in order.tolist()
    ]
    text = f"The texts with the highest perplexity, of those with {FEWEST_TARGETS} targets or more."
    return Section("Hardest texts", text, [MarkedSentences(shown)])
