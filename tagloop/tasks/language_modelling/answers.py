"""What a finished run predicted of every text, for its report. No model is loaded."""

from dataclasses import dataclass

import numpy as np

from tagloop.outcome.predictions_file import Predictions
from tagloop.outcome.record import Outcome
from tagloop.pages.answers import Answers
from tagloop.pages.page import LONGEST
from tagloop.pages.sentences import Sentence
from tagloop.tasks.language_modelling.options import CAUSAL, SPANS
from tagloop.tasks.language_modelling.texts import read_texts

OUTPUTS = ("loss", "right", "targets")


@dataclass(kw_only=True)
class TextAnswers(Answers):
    """The loss of every text; its sentence has no spans, and may lack its last words.

    Attributes:
        item: "text", or "block" where texts were joined.
        sums: float64 [num_texts, 3], number of targets, sum of their losses, right ones.
        baseline: perplexity of a model that knows only how often a sub-token is there, or None.
        prefix: what the names of the scores of these targets begin with: "text_" where sentinels
            and ends are left out, else "".
    """

    item: str
    sums: np.ndarray
    baseline: float | None
    prefix: str


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
        try:
            texts = read_texts(config)
        except Exception as error:  # The data may have been moved or damaged since the run.
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            outcome.notes.append(f"the data of the run cannot be read again: {reason}")
            return None
        if texts.fingerprints.get(split) != fingerprint or len(texts.splits[split]) < len(sums):
            outcome.notes.append(
                f"the {split} data is another one now than what was predicted: there are no scores"
            )
            return None
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
