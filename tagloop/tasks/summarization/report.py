"""The sections of a report on summaries: ROUGE, by length, the worst pairs."""

import numpy as np

from tagloop.pages.page import Cards, MarkedSentences, Section, Table, mark
from tagloop.pages.sentences import buckets
from tagloop.pages.statistics import interval, resample
from tagloop.tasks.summarization.answers import EDGES, SummaryAnswers, lengths_of, plain_pieces
from tagloop.tasks.summarization.scores import ROUGES

CURVES = ("rouge1", "rouge2", "rougeL")  # scores of evaluations that are drawn over updates
MOST_PAIRS = 25


def build_sections(answers: SummaryAnswers) -> list[Section]:
    """The sections about the generated summaries."""
    return [
        _scores(answers),
        _by_length(answers, "words of the reference", answers.golds),
        _by_length(answers, "words of the generated summary", answers.found),
        _worst(answers),
    ]


def _scores(answers: SummaryAnswers) -> Section:
    """ROUGE with the interval that resampled pairs score in, beside a trivial baseline."""
    cards, rows = [], []
    for measure, baseline in zip(answers.measures, answers.baseline.T, strict=True):
        value, drawn = measure.of(measure.sums.sum(0)), measure.of(resample(measure.sums))
        low, high = interval(drawn)
        has_width = low < high  # An interval without width proves nothing.
        shown = f"95%: {low:.1f}–{high:.1f}" if has_width else "too few for an interval"
        cards.append((measure.name, f"{value:.2f}", shown))
        rows.append((measure.name, f"{value:.2f}", f"{100 * baseline.mean():.2f}"))
    cards.append(("pairs", f"{len(answers.rows):,}", ""))
    text = (
        f"Of {answers.where}: mean F-measures in percent, with stemming. 95% of the scores of "
        f"resampled pairs lie in the interval ({len(drawn):,} bootstrap samples)."
    )
    table = Table(("", "generated summaries", "first sentences of the texts"), rows)
    return Section("Scores", text, [Cards(cards), table])


def _by_length(answers: SummaryAnswers, what: str, texts: list[str]) -> Section:
    names = np.array(lengths_of(texts))
    rows = []
    for name in buckets(EDGES):
        own = answers.rouge[names == name]
        if len(own):
            rows.append((name, *(f"{100 * v:.2f}" for v in own.mean(axis=0)), f"{len(own):,}"))
    return Section(f"By {what}", "", [Table((what, *ROUGES, "pairs"), rows)])


def _worst(answers: SummaryAnswers) -> Section:
    """The section with the summaries of lowest ROUGE-L; of equals those with lower ROUGE-1."""
    order = np.lexsort((answers.rouge[:, 0], answers.rouge[:, 2]))[:MOST_PAIRS]
    shown = []
    for at in order.tolist():
        one, _, longest, _ = 100 * answers.rouge[at]
        heading = f"row {answers.rows[at] + 1:,}: ROUGE-L {longest:.1f}, ROUGE-1 {one:.1f}"
        lines = [
            ("reference", plain_pieces(answers.golds[at])),
            ("generated", plain_pieces(answers.found[at])),
            ("text", mark(answers.sentences[at], [], [])),
        ]
        shown.append((heading, lines))
    text = "The summaries with the lowest ROUGE-L."
    places = answers.places_of(order.tolist())
    return Section("Worst pairs", text, [MarkedSentences(shown, places)])
