"""Gold and predicted answers of a split, in a form that the pages of all tasks share."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tagloop.pages.sentences import Sentence


@dataclass(kw_only=True)
class Answers:
    """The rows of a split with gold answers, and the predictions of a run for them.

    A task may have a subclass with more attributes for its report. The attributes below are those
    that a comparison of runs needs.

    Attributes:
        split: "test" or "validation".
        places: for every sentence where it stands in the data, as "path/test.conll:17"; [] if no
            place is known.
        sentences: words, gold and predicted spans of every sentence or row with a gold answer.
        rows: for every sentence the number of its row in the split, from 0.
        score: the name of the score that F1 of the spans is; None if the task has no spans.
        logged_score: the name of this score in metrics.jsonl, without "eval_".
        spans_are_parts: True if a span is a part of a sentence, so that a page can mark it.
        guessing_loss: the mean loss of a model that gives every label the same probability, in the
            unit of the logged loss; None for a task without labels.
        warnings: sentences that a reader must know before the scores.
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

    def places_of(self, numbers: Sequence[int]) -> list[str]:
        """The places of some sentences, given by their numbers among `sentences`."""
        return [self.places[number] for number in numbers] if self.places else []

    @property
    def where(self) -> str:
        """The split in words."""
        return f"the {self.split} data"
