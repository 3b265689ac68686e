"""Texts, references and generated summaries of a finished run, for its report."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import ClassVar, Self

import numpy as np

from tagloop.data.places import places_of_rows
from tagloop.models.tokenizers import load_tokenizer
from tagloop.options.config import Config
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers, Grouping
from tagloop.pages.page import LONGEST, Piece, mark
from tagloop.pages.sentences import Sentence, bucket, buckets
from tagloop.pages.statistics import Measure
from tagloop.tasks.summarization.columns import is_pair, read_pairs
from tagloop.tasks.summarization.scores import (
    PACKAGE,
    REMEDY,
    ROUGES,
    first_sentence,
    rouge_of,
)
from tagloop.tasks.summarization.task import decode

EDGES = (1, 6, 11, 21, 31, 51, 101)  # of numbers of words
LONGEST_COMMON = ROUGES.index("rougeL")  # The summaries that differ most differ in this score.


@dataclass(kw_only=True)
class SummaryAnswers(Answers):
    """Generated summaries. A sentence here is a whole text, which has no spans.

    Attributes:
        golds: the references.
        found: the generated summaries.
        rouge, baseline: F-measures of the summaries, and of the first sentences of the texts,
            float64 [num_pairs, 4] each, 0 to 1.
    """

    golds: list[str]
    found: list[str]
    rouge: np.ndarray
    baseline: np.ndarray
    item: str = "pair"
    gold_name: ClassVar[str] = "gold summaries"
    better_and_worse: ClassVar[tuple[str, str]] = ("a higher ROUGE-L", "a lower one")

    @property
    def identities(self) -> list[Hashable]:
        texts = (tuple(one.words) for one in self.sentences)
        return [*zip(texts, self.golds, strict=True)]

    @cached_property
    def measures(self) -> list[Measure]:
        return [
            Measure(
                name=name,
                logged=name,
                sums=np.stack([values, np.ones_like(values)], axis=1),
                of=lambda sums: 100 * sums[..., 0] / sums[..., 1],
                shape=".2f",
                interval_shape=".1f",
            )
            for name, values in zip(ROUGES, self.rouge.T, strict=True)
        ]

    @property
    def groupings(self) -> list[Grouping]:
        what = "words of the reference"
        return [Grouping(f"By {what}", what, lengths_of(self.golds), buckets(EDGES))]

    @cached_property
    def errors(self) -> np.ndarray:
        """What every summary lacks to a ROUGE-L of 1, float64 [num_pairs]."""
        return 1 - self.rouge[:, LONGEST_COMMON]

    def change(self, other: Self, at: int) -> str:
        mine, others = (100 * run.rouge[at, LONGEST_COMMON] for run in (self, other))
        return f"ROUGE-L {mine:.1f} → {others:.1f}"

    def beside(self, other: Self, names: Sequence[str], at: int) -> list[tuple[str, list[Piece]]]:
        texts = (self.golds[at], self.found[at], other.found[at])
        named = zip(("reference", *names), texts, strict=True)
        return [
            *((name, plain_pieces(text)) for name, text in named),
            ("text", mark(self.sentences[at], [], [])),
        ]


def plain_pieces(text: str) -> list[Piece]:
    """A text without marks for a page, at most LONGEST words of it."""
    return mark(Sentence(text.split() or ["–"], [], []), [], [])


def lengths_of(texts: Sequence[str]) -> list[str]:
    """For every text the name of the group of similar numbers of words."""
    return [bucket(max(len(text.split()), 1), EDGES) for text in texts]


def read_answers(outcome: Outcome) -> SummaryAnswers | None:
    """Read the pairs from the data, which is read again, and the ids from predictions.npz.

    Returns:
        The answers; None if a part is missing or does not fit, and a note of the outcome says why.
    """
    if outcome.predictions is None:
        return None
    split, fingerprint, outputs = outcome.predictions
    ids = outputs.get("table_ids")
    if ids is None or ids.dtype.kind != "i" or (ids < 0).any():
        outcome.notes.append(
            "predictions.npz holds no generated summaries; --predict_with_generate writes them"
        )
        return None
    if find_spec(PACKAGE) is None:
        outcome.notes.append(f"rouge-score is missing, so there are no scores: {REMEDY}")
        return None
    rows = outcome.read_again(lambda: read_pairs(outcome.config))
    saved = Config(model_name_or_path=str(outcome.folder))
    tokenizer = outcome.read_again(lambda: load_tokenizer(saved, [], pre_split=False))
    if rows is None or tokenizer is None:
        return None
    if rows.fingerprints.get(split) != fingerprint or len(rows.splits[split]) != len(ids):
        outcome.note_other_data(split)
        return None
    texts, golds = (rows.splits[split][:][name] for name in ("source", "target"))
    known = [row for row, pair in enumerate(zip(texts, golds, strict=True)) if is_pair(*pair)]
    if not known:
        outcome.notes.append(f"no row of the {split} data has a text and a summary")
        return None
    found = decode(tokenizer, ids[known])
    golds = [golds[row] for row in known]
    return SummaryAnswers(
        split=split,
        sentences=[
            Sentence(texts[row].split(maxsplit=LONGEST)[:LONGEST] or ["_"], [], []) for row in known
        ],
        rows=known,
        places=places_of_rows(outcome.config, rows.stored[split], known),
        score=None,
        logged_score="rouge1",
        spans_are_parts=False,
        golds=golds,
        found=found,
        rouge=rouge_of(golds, found),
        baseline=rouge_of(golds, [first_sentence(texts[row]) for row in known]),
    )
