"""What stands in the data beside what was predicted, in a shape that pages of every task share."""

from dataclasses import dataclass, field

from tagloop.pages.sentences import Sentence


@dataclass(kw_only=True)
class Answers:
    """The part of a split that has gold answers, and what a run predicted for it.

    A task's report gives a class of its own with more attributes; these are what a comparison of
    runs needs.

    Attributes:
        split: "test" or "validation".
        sentences: words, gold and predicted spans of every sentence or row with a gold answer.
        rows: of each sentence the row of its split, from 0.
        score: what F1 of the spans is called here; None: there are no spans to count.
        logged_score: the same score in metrics.jsonl, without "eval_".
        spans_are_parts: a span is part of a sentence, so that marking it shows something.
        guessing_loss: mean loss of a model that gives every label the same probability, in the
            unit of the logged loss; None where that means nothing.
        warnings: what every reader must know before the scores.
    """

    split: str
    sentences: list[Sentence]
    rows: list[int]
    score: str | None
    logged_score: str = ""
    spans_are_parts: bool = True
    guessing_loss: float | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def where(self) -> str:
        """The split in words."""
        return f"the {self.split} data"
