"""What a finished run predicted of every text, for its report. No model is loaded."""

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np

from tagloop.outcome.predictions_file import Predictions
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers, Grouping
from tagloop.pages.page import LONGEST
from tagloop.pages.sentences import Sentence, bucket, buckets
from tagloop.pages.statistics import Measure
from tagloop.tasks.language_modelling.options import CAUSAL, SPANS
from tagloop.tasks.language_modelling.texts import read_texts

# The options that decide which sub-tokens are hidden.
CHOOSING = ("mlm_probability", "mean_noise_span_length", "max_length", "line_by_line")

OUTPUTS = ("loss", "right", "targets")
EDGES = (1, 6, 11, 21, 51, 101, 501)  # of numbers of targets


@dataclass(kw_only=True)
class TextAnswers(Answers):
    """The loss of every text; its sentence has no spans, and may lack its last words.

    Attributes:
        item: "text", or "block" where texts were joined.
        sums: float64 [num_texts, 3], number of targets, sum of their losses, right ones.
        baseline: perplexity of a model that knows only how often a sub-token is there, or None.
        prefix: what the names of the scores of these targets begin with: "text_" where sentinels
            and ends are left out, else "".
        made_with: what must be equal in runs whose perplexities are compared: data, tokenizer, and
            what decides which sub-tokens are predicted.
    """

    item: str
    sums: np.ndarray
    baseline: float | None
    prefix: str
    made_with: str
    gold_name: ClassVar[str] = "sub-tokens to predict"
    better_and_worse: ClassVar[tuple[str, str]] = ("a lower loss", "a higher one")

    @property
    def identities(self) -> list[Hashable]:
        return [
            (one.words, targets, self.made_with)
            for one, targets in zip(self.sentences, self.sums[:, 0].tolist(), strict=True)
        ]

    @cached_property
    def measures(self) -> list[Measure]:
        return [
            Measure(
                name="perplexity",
                logged=f"{self.prefix}perplexity",
                sums=self.sums,
                of=lambda sums: means_of(sums)[0],
                lower_is_better=True,
                shape=".4g",
                interval_shape=".4g",
            ),
            Measure(
                name="accuracy",
                logged=f"{self.prefix}accuracy",
                sums=self.sums,
                of=lambda sums: means_of(sums)[1],
            ),
        ]

    @property
    def groupings(self) -> list[Grouping]:
        lengths = [bucket(int(number), EDGES) for number in self.sums[:, 0]]
        return [Grouping("By length", f"targets in the {self.item}", lengths, buckets(EDGES))]

    @property
    def shows_items(self) -> bool:
        """True for texts: a block has no words of its own."""
        return self.item == "text"

    @cached_property
    def errors(self) -> np.ndarray:
        """The summed loss of every text or block, float64 [num_texts]."""
        return self.sums[:, 1]

    def change(self, other: Self, at: int) -> str:
        mine, others = (means_of(run.sums[at])[0] for run in (self, other))
        return f"perplexity {mine:.4g} → {others:.4g}"


def means_of(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Perplexity and accuracy, float64 [...] each, from sums as TextAnswers has them, [..., 3]."""
    targets, loss, right = np.moveaxis(sums, -1, 0)
    return np.exp(np.minimum(loss / targets, 700)), right / targets


def read_answers(outcome: Outcome) -> TextAnswers | None:
    """Read the predictions from predictions.npz, and the texts from the data.

    Returns:
        The answers; None if a part is missing or does not fit, and a note of the outcome says why.
    """
    if outcome.predictions is None:
        return None
    split, fingerprint, outputs = outcome.predictions
    prefix = "text_" if outcome.config.task_name == SPANS else ""
    if not _fits(outcome.predictions, prefix):
        outcome.notes.append("predictions.npz does not hold the losses of texts")
        return None
    config = outcome.config
    in_blocks = bool(config.block_size) if config.task_name == CAUSAL else not config.line_by_line
    sums = np.stack(
        [
            np.bincount(outputs["text"], outputs[prefix + name])
            for name in ("targets", "loss", "right")
        ],
        axis=1,
    )
    known = np.flatnonzero(sums[:, 0]).tolist()
    texts = None
    if not in_blocks:
        texts = outcome.read_again(lambda: read_texts(config))
        if texts is None:
            return None
        if texts.fingerprints.get(split) != fingerprint or len(texts.splits[split]) < len(sums):
            outcome.note_other_data(split)
            return None
    chosen_by = [getattr(config, name) for name in CHOOSING] if config.task_name != CAUSAL else []
    tokenizer = outcome.record.get("identity", {}).get("tokenizer")
    answers = TextAnswers(
        split=split,
        sentences=[],
        rows=known,
        score=None,
        logged_score=f"{prefix}accuracy",
        spans_are_parts=False,
        item="block" if in_blocks else "text",
        sums=sums[known],
        baseline=outcome.results.get(f"{'test' if split == 'test' else 'eval'}_unigram_perplexity"),
        prefix=prefix,
        made_with=f"{fingerprint} {tokenizer} {chosen_by}",
    )
    for number in known:
        text = texts.splits[split][number]["text"] if texts else ""
        answers.sentences.append(Sentence(text.split(maxsplit=LONGEST)[:LONGEST] or ["_"], [], []))
    return answers if known else None


def _fits(predictions: Predictions, prefix: str) -> bool:
    """True if the outputs are those of a language model, one of each for every row."""
    names = [*(prefix + name for name in OUTPUTS), "text"]
    outputs = [predictions.outputs.get(name) for name in names]
    if any(values is None or len(values) != len(outputs[0]) for values in outputs):
        return False
    numbers = outputs[1:]
    whole = all(values.dtype.kind == "i" and (values >= 0).all() for values in numbers)
    return whole and bool(np.isfinite(outputs[0]).all())
