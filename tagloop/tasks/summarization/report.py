"""The sections of a report on summaries: ROUGE, by length, the worst pairs."""

import numpy as np

from tagloop.pages.page import Cards, MarkedSentences, Section, Table, mark
from tagloop.pages.sentences import Sentence, bucket, buckets
from tagloop.pages.statistics import interval, resample
from tagloop.tasks.summarization.answers import SummaryAnswers
from tagloop.tasks.summarization.scores import ROUGES

CURVES = ("rouge1", "rouge2", "rougeL")  # scores of evaluations that are drawn over updates
MOST_PAIRS = 25
EDGES = (1, 6, 11, 21, 31, 51, 101)  # in words


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
    number = len(answers.rows)
    drawn = 100 * resample(answers.rouge) / number
    cards, rows = [], []
    for at, name in enumerate(ROUGES):
        value, baseline = (
            100 * values[:, at].mean() for values in (answers.rouge, answers.baseline)
        )
        low, high = interval(drawn[:, at])
        has_width = low < high  # An interval without width proves nothing.
        shown = f"95%: {low:.1f}–{high:.1f}" if has_width else "too few for an interval"
        cards.append((name, f"{value:.2f}", shown))
        rows.append((name, f"{value:.2f}", f"{baseline:.2f}"))
    cards.append(("pairs", f"{number:,}", ""))
    text = (
        f"Of {answers.where}: mean F-measures in percent, with stemming. 95% of the scores of "
        f"resampled pairs lie in the interval ({len(drawn):,} bootstrap samples)."
    )
    table = Table(("", "generated summaries", "first sentences of the texts"), rows)
    return Section("Scores", text, [Cards(cards), table])


def _by_length(answers: SummaryAnswers, what: str, texts: list[str]) -> Section:
    names = np.array([bucket(max(len(text.split()), 1), EDGES) for text in texts])
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
            (name, mark(Sentence(text.split() or ["–"], [], []), [], []))
            for name, text in (("reference", answers.golds[at]), ("generated", answers.found[at]))
        ]
        lines.append(("text", mark(answers.sentences[at], [], [])))
        shown.append((heading, lines))
    text = "The summaries with the lowest ROUGE-L."
    return Section("Worst pairs", text, [MarkedSentences(shown)])
