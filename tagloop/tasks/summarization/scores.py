"""ROUGE of summaries, as the package rouge-score computes it.

A score is the mean of the F-measures of all summaries. transformers' scripts take the middle of
resampled means in its place, which changes from run to run.
"""

import re
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from tagloop.errors import InputError

ROUGES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
PACKAGE = "rouge_score"
REMEDY = "pip install rouge-score"
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def require_rouge() -> None:
    """Raise InputError if the package that computes ROUGE is missing."""
    if find_spec(PACKAGE) is None:
        raise InputError(
            "--predict_with_generate scores summaries with ROUGE, for which the package "
            f"rouge-score is missing: {REMEDY}; or give --predict_with_generate false"
        )


def rouge_of(golds: Sequence[str], found: Sequence[str]) -> np.ndarray:
    """The F-measures of summaries: words in lower case, stemmed, only of a to z and 0 to 9.

    Args:
        golds: the reference of every summary, whole.
        found: the generated summaries.

    Returns:
        float64 [num_summaries, 4], 0 to 1, in the order of ROUGES.
    """
    from rouge_score.rouge_scorer import RougeScorer  # an extra package

    scorer = RougeScorer(ROUGES, use_stemmer=True)
    rows = [
        scorer.score(sentence_lines(gold), sentence_lines(text))
        for gold, text in zip(golds, found, strict=True)
    ]
    values = [[row[name].fmeasure for name in ROUGES] for row in rows]
    return np.array(values, dtype=np.float64).reshape(-1, len(ROUGES))


def percent(values: np.ndarray) -> dict[str, float]:
    """The scores of all summaries by name, in percent, with four decimals.

    Args:
        values: as `rouge_of` returns them, of one summary at least.
    """
    means = 100 * values.mean(axis=0)
    return {name: round(float(mean), 4) for name, mean in zip(ROUGES, means, strict=True)}


def sentence_lines(text: str) -> str:
    r"""A text with a line for every sentence, which rougeLsum compares.

    >>> sentence_lines("Ann left. Bo stayed.")
    'Ann left.\nBo stayed.'
    """
    return SENTENCE_END.sub("\n", text.strip())


def first_sentence(text: str) -> str:
    """The first sentence of a text, the trivial summary."""
    return next(iter(sentence_lines(text).splitlines()), "")


def is_blind(golds: Sequence[str]) -> bool:
    """True if most of the references have no character that ROUGE sees."""
    seen = sum(bool(re.search("[a-z0-9]", gold.lower())) for gold in golds)
    return 2 * seen < len(golds)
