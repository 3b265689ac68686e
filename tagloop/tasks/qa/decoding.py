"""From the logits of a question's windows to its answers: masked, merged, in a fixed order.

Logits are rounded to LOGIT_DIGITS decimals first, as the padding of a batch changes further ones.
Among equal scores the answer that begins earlier comes first, then the shorter one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tagloop.options.config import Config
from tagloop.tasks.qa.encoding import NOT_CONTEXT, QuestionWindows

LOGIT_DIGITS = 3
NO_CANDIDATE = 1e9  # the null odds of a question whose context has no text


class Candidate(NamedTuple):
    """A possible answer: `text` is the characters from `start` to `end` of the context."""

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float

    @property
    def score(self) -> float:
        """The sum of both logits."""
        return round(self.start_logit + self.end_logit, LOGIT_DIGITS)


NULL = Candidate("", 0, 0, 0.0, 0.0)


@dataclass(frozen=True)
class Choice:
    """How the answers of a question are chosen; the options of the same names say more."""

    n_best_size: int
    max_answer_length: int
    version_2_with_negative: bool
    null_score_diff_threshold: float


def choice_of(config: Config) -> Choice:
    """How the options of a run choose answers."""
    return Choice(
        config.n_best_size,
        config.max_answer_length,
        config.version_2_with_negative,
        config.null_score_diff_threshold,
    )


@dataclass(frozen=True)
class Decoded:
    """The answers of one question.

    Attributes:
        candidates: the best possible answers, the best one first; no two have the same text. None
            of them is empty; there is none if the context has no text.
        null: no answer, with the logits of the window in which least speaks for it.
    """

    candidates: list[Candidate]
    null: Candidate
    choice: Choice

    @property
    def best(self) -> Candidate:
        """The best answer, whatever speaks for none; NULL without candidates."""
        return next(iter(self.candidates), NULL)

    @property
    def null_odds(self) -> float:
        """How much more speaks for no answer than for the best one."""
        if not self.candidates:
            return NO_CANDIDATE
        return round(self.null.score - self.best.score, LOGIT_DIGITS)

    @property
    def answer(self) -> Candidate:
        """The predicted answer; its text is empty if the question has none."""
        choice = self.choice
        is_null = self.null_odds > choice.null_score_diff_threshold
        return self.null if choice.version_2_with_negative and is_null else self.best

    def n_best(self) -> list[tuple[Candidate, float]]:
        """The candidates with their probabilities, a softmax over their scores.

        If questions may have no answer, `null` is among them: it takes the place of its score, or
        is the last one.
        """
        listed = list(self.candidates)
        if self.choice.version_2_with_negative:
            listed = sorted([*listed, self.null], key=lambda one: -one.score)
            listed = listed[: self.choice.n_best_size]
            listed += [] if self.null in listed else [self.null]
        listed = listed or [NULL]
        scores = np.array([one.score for one in listed])
        shares = np.exp(scores - scores.max())
        return list(zip(listed, (shares / shares.sum()).round(6).tolist(), strict=True))


def decode_questions(
    windows: QuestionWindows,
    contexts: Sequence[str | None],
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    choice: Choice,
) -> Iterator[Decoded]:
    """The answers of every question of a split, in order.

    Args:
        contexts: of every question.
        start_logits, end_logits: float32 [num_sub_tokens of all windows].
    """
    for row, context in enumerate(contexts):
        found: dict[str, Candidate] = {}
        null = None
        for window in range(windows.row_offsets[row], windows.row_offsets[row + 1]):
            part = slice(windows.offsets[window], windows.offsets[window + 1])
            starts, ends = (
                logits[part].astype(np.float64).round(LOGIT_DIGITS)
                for logits in (start_logits, end_logits)
            )
            at = windows.null_indices[window]
            here = Candidate("", 0, 0, float(starts[at]), float(ends[at]))
            null = here if null is None or here.score < null.score else null
            for one in _candidates(
                context or "", windows.begins[part], windows.ends[part], starts, ends, choice
            ):
                known = found.get(one.text)
                if known is None or _order(one) < _order(known):
                    found[one.text] = one
        best = sorted(found.values(), key=_order)[: choice.n_best_size]
        yield Decoded(best, null or NULL, choice)


def _order(one: Candidate) -> tuple[float, int, int]:
    return -one.score, one.start, one.end


def _candidates(
    context: str,
    begins: np.ndarray,
    ends: np.ndarray,
    start_logits: np.ndarray,
    end_logits: np.ndarray,
    choice: Choice,
) -> Iterator[Candidate]:
    """The best answers of one window: every pair of begin and end in the context is looked at."""
    is_text = begins != NOT_CONTEXT
    if not is_text.any():
        return
    longest = min(choice.max_answer_length, len(begins))
    first = np.where(is_text, start_logits, -np.inf)
    last = np.concatenate([np.where(is_text, end_logits, -np.inf), np.full(longest - 1, -np.inf)])
    # Row i has the scores of the answers that begin at sub-token i, by their length.
    scores = first[:, None] + np.lib.stride_tricks.sliding_window_view(last, longest)
    scores = scores.round(LOGIT_DIGITS).ravel()
    number = min(choice.n_best_size, len(scores))
    least = np.partition(scores, -number)[-number]
    kept = np.flatnonzero((scores >= least) & np.isfinite(scores))
    for cell in kept[np.argsort(-scores[kept], kind="stable")][:number].tolist():
        start, length = divmod(cell, longest)
        begin, end = int(begins[start]), int(ends[start + length])
        yield Candidate(
            context[begin:end],
            begin,
            end,
            float(start_logits[start]),
            float(end_logits[start + length]),
        )
