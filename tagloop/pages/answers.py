"""Gold and predicted answers of a split, in a form that the pages of all tasks share."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple, Self

import numpy as np

from tagloop.pages.page import Piece, mark
from tagloop.pages.sentences import Sentence, count_by, errors_of
from tagloop.pages.statistics import Measure, span_measures


class Grouping(NamedTuple):
    """Groups of items, whose scores a comparison shows side by side.

    Attributes:
        title: the heading of the section.
        what: the heading of the column with the names.
        of_items: the name of the group of every item.
        names: the names of all groups, in order.
    """

    title: str
    what: str
    of_items: Sequence[str]
    names: Sequence[str]


@dataclass(kw_only=True)
class Answers:
    """The rows of a split with gold answers, and the predictions of a run for them.

    A task may have a subclass with more attributes for its report. The attributes below are those
    that a comparison of runs needs; a subclass whose predictions are no spans of words has its own
    `measures`, `errors`, `change` and `beside`.

    Attributes:
        split: "test" or "validation".
        places: for every sentence where it stands in the data, as "path/test.conll:17"; [] if no
            place is known.
        sentences: words, gold and predicted spans of every sentence or row with a gold answer.
        rows: for every sentence the number of its row in the split, from 0.
        score: the name of the score that F1 of the spans is; None if the task has no spans whose
            types are scored.
        logged_score: the name of this score in metrics.jsonl, without "eval_".
        spans_are_parts: True if a span is a part of a sentence, so that a page can mark it.
        guessing_loss: the mean loss of a model that gives every label the same probability, in the
            unit of the logged loss; None for a task without labels.
        warnings: sentences that a reader must know before the scores.
        item: what one of `sentences` is called in the singular.
        gold_name: what its gold answers are called.
        better_and_worse: what an item has of which a run predicts more right, and the opposite.
    """

    split: str
    places: list[str] = field(default_factory=list)
    sentences: list[Sentence]
    rows: list[int]
    score: str | None
    logged_score: str = ""
    spans_are_parts: bool = True
    guessing_loss: float | None = None
    warnings: list[str] = field(default_factory=list)
    item: str = "sentence"
    gold_name: ClassVar[str] = "gold tags"
    better_and_worse: ClassVar[tuple[str, str]] = ("fewer errors", "more")

    def places_of(self, numbers: Sequence[int]) -> list[str]:
        """The places of some sentences, given by their numbers among `sentences`."""
        return [self.places[number] for number in numbers] if self.places else []

    @property
    def where(self) -> str:
        """The split in words."""
        return f"the {self.split} data"

    @property
    def identities(self) -> list[Hashable]:
        """For every item what two runs must have in common before their scores are compared."""
        return [(tuple(one.words), tuple(one.gold)) for one in self.sentences]

    @cached_property
    def measures(self) -> list[Measure]:
        """The scores that runs are compared by; [] if runs of the task cannot be compared."""
        if self.score is None:
            return []
        counts = count_by(self.sentences, lambda *_: "", [""])[:, 0]
        return span_measures(counts, self.score, self.logged_score)

    @property
    def groupings(self) -> list[Grouping]:
        """Groups of items that a comparison has a section for."""
        return []

    @property
    def shows_items(self) -> bool:
        """True if a page can show the words of an item."""
        return True

    @cached_property
    def errors(self) -> np.ndarray:
        """How far the prediction of every item is from right, [num_items]; less is better."""
        return np.array([errors_of(one) for one in self.sentences])

    def change(self, other: Self, at: int) -> str:
        """What this run predicted of an item and what another one did, in a few words."""
        return f"{self.errors[at]} → {other.errors[at]} errors"

    def beside(self, other: Self, names: Sequence[str], at: int) -> list[tuple[str, list[Piece]]]:
        """An item with the predictions of this run and of another one: lines with their names.

        Args:
            names: the names of the two runs.
        """
        sentence = self.sentences[at]
        if not self.spans_are_parts:
            return [("text", mark(sentence, [], []))]
        predicted = zip(names, (self, other), strict=True)
        return [
            ("gold", mark(sentence, sentence.gold, sentence.gold)),
            *(
                (name, mark(sentence, run.sentences[at].predicted, sentence.gold))
                for name, run in predicted
            ),
        ]
