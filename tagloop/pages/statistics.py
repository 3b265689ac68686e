"""Intervals of scores by the bootstrap, and tests of two systems on the same sentences.

A score is computed from counts that are summed over sentences: right, predicted and gold spans. The
bootstrap draws sentences, and not spans, because spans of one sentence are not independent
(Berg-Kirkpatrick, Burkett and Klein 2012; Noreen 1989 for the approximate randomisation). If all
spans are right and they are few, the bootstrap always draws a score of 1. Wilson's interval (1927)
shows how uncertain this score is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

SCORES = ("precision", "recall", "F1")
DRAWS, SWAPS = 1000, 10_000
NORMAL_QUANTILE = 1.959964  # 2.5% of a normal distribution lie above
CELLS = 2_000_000  # the number of random numbers that are drawn at once
MOST_CELLS = 100_000_000  # the number of all random numbers; many sentences need fewer draws


def scores_of(totals: np.ndarray, *, undefined: float = 0.0) -> np.ndarray:
    """Compute precision, recall and F1 from numbers of spans.

    Args:
        totals: [..., 3], right, predicted and gold spans.
        undefined: the value of a score whose denominator is 0.

    Returns:
        float64 [..., 3], precision, recall and F1.

    >>> scores_of(np.array([2, 4, 2])).round(3).tolist()
    [0.5, 1.0, 0.667]
    """
    right, predicted, gold = np.moveaxis(np.asarray(totals, dtype=float), -1, 0)
    parts = ((right, predicted), (right, gold), (2 * right, predicted + gold))
    scores = [np.divide(a, b, out=np.full_like(a, undefined), where=b > 0) for a, b in parts]
    return np.stack(scores, axis=-1)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A score that is computed from numbers which are summed over the items of a split.

    Attributes:
        name: the score as a page names it.
        logged: its name in metrics.jsonl, without "eval_".
        sums: float64 [num_items, num_sums], for every sentence, row, text or question.
        of: computes the score, [...], from sums, [..., num_sums]; NaN where it is undefined.
        num_trials: computes the denominator of a score that is a share of trials, for Wilson's
            interval; None for other scores, which have the interval of the bootstrap alone.
        lower_is_better: True for errors and perplexities.
        shape, interval_shape: how the score and its interval are written.
        is_tested: False for a score that a comparison shows without a test of its difference.
    """

    name: str
    logged: str
    sums: np.ndarray
    of: Callable[[np.ndarray], np.ndarray]
    num_trials: Callable[[np.ndarray], np.ndarray] | None = None
    lower_is_better: bool = False
    shape: str = ".4f"
    interval_shape: str = ".3f"
    is_tested: bool = True


def span_measures(counts: np.ndarray, score: str, logged: str) -> list[Measure]:
    """The measures of predicted spans.

    Args:
        counts: numbers of right, predicted and gold spans, [num_sentences, 3].
        score: "F1", which has precision and recall beside it, or the name of a share that F1 is
            where every item has one gold and one predicted span.
        logged: the name of this score in metrics.jsonl, without "eval_".
    """
    names = SCORES if score == SCORES[2] else (score,)
    return [
        Measure(
            name=name,
            logged=logged if name == score else name,
            sums=counts,
            of=lambda totals, at=at: scores_of(totals, undefined=np.nan)[..., at],
            num_trials=lambda totals, at=at: number_of_trials(totals)[..., at],
            is_tested=name == score,
        )
        for at, name in enumerate(names, start=len(SCORES) - len(names))
    ]


def resample(counts: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Bootstrap: draw num_sentences sentences with replacement and sum their counts, many times.

    Args:
        counts: [num_sentences, ...].

    Returns:
        float64 [num_draws, ...], the sums of every draw.
    """
    number, shape = len(counts), counts.shape[1:]
    flat = counts.reshape(number, -1).astype(np.float64)
    rng, sums = np.random.default_rng(seed), []
    for draws in _pieces(DRAWS, number):
        drawn = rng.integers(number, size=(draws, number))
        drawn += np.arange(draws)[:, None] * number
        times = np.bincount(drawn.ravel(), minlength=draws * number).reshape(draws, number)
        sums.append(times @ flat)
    return np.concatenate(sums).reshape(-1, *shape)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95% of resampled values, float [num_draws]; NaN (undefined) does not count."""
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (0.0, 1.0)
    return float(low), float(high)


def number_of_trials(totals: np.ndarray) -> np.ndarray:
    """The denominators of precision, recall and F1.

    F1 is the number of right spans over the mean of the numbers of predicted and gold spans.

    Args:
        totals: [..., 3], right, predicted and gold spans.

    Returns:
        float64 [..., 3].

    >>> number_of_trials(np.array([2, 4, 2])).tolist()
    [4.0, 2.0, 3.0]
    """
    _, predicted, gold = np.moveaxis(np.asarray(totals, dtype=float), -1, 0)
    return np.stack([predicted, gold, (predicted + gold) / 2], axis=-1)


def wilson(share: float, number: float) -> tuple[float, float]:
    """Wilson's 95% interval of a share that was observed in `number` independent trials.

    >>> [round(end, 3) for end in wilson(1.0, 24)], wilson(0.0, 0)
    ([0.862, 1.0], (0.0, 1.0))
    """
    if number <= 0:
        return 0.0, 1.0
    squared = NORMAL_QUANTILE**2
    centre = (share + squared / (2 * number)) / (1 + squared / number)
    root = np.sqrt(share * (1 - share) / number + squared / (4 * number**2))
    half = NORMAL_QUANTILE * float(root) / (1 + squared / number)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def score_interval(score: float, number: float, drawn: np.ndarray) -> tuple[float, float]:
    """The 95% interval of precision, recall, F1 or accuracy.

    Each end is the outer end of two intervals, because both have a weakness. The bootstrap respects
    that spans of one sentence are alike, but if all sentences are right, it draws right sentences
    only. Wilson's interval is wide for few spans, but treats spans as independent.

    Args:
        number: the denominator of the score, see number_of_trials.
        drawn: the score of resampled sentences, float [num_draws]; NaN if it is undefined.
    """
    (low, high), (least, most) = interval(drawn), wilson(score, number)
    return min(low, least), max(high, most)


@dataclass(frozen=True)
class Difference:
    """The score of the second system minus that of the first, with its 95% interval and p."""

    value: float
    low: float
    high: float
    p_value: float


def f1_of(totals: np.ndarray) -> np.ndarray:
    """F1, [...], of numbers of right, predicted and gold spans, [..., 3]; 0 where undefined."""
    return scores_of(totals)[..., 2]


def compare(
    first: np.ndarray,
    second: np.ndarray,
    *,
    of: Callable[[np.ndarray], np.ndarray] = f1_of,
    seed: int = 0,
) -> Difference:
    """The difference in a score of two systems on the same items; means over the seeds.

    The interval comes from a paired bootstrap over items. The p-value comes from approximate
    randomisation, with the sums of every item averaged over seeds: it is the share of random swaps
    of the two systems, item by item, that give a difference at least as large.

    Args:
        first, second: the numbers that the score is computed from, [num_items, num_sums], or with
            several seeds [num_items, num_seeds, num_sums]. The systems may have different numbers
            of seeds.
        of: computes the score, [...], from sums, [..., num_sums]; NaN counts as 0.
    """
    first, second = (side if side.ndim == 3 else side[:, None] for side in (first, second))
    num_first = first.shape[1]
    runs = np.concatenate([first, second], axis=1)

    def difference(totals: np.ndarray, num_first: int) -> np.ndarray:
        """The mean of the second system's runs minus the first's: [..., num_runs, k] -> [...]."""
        scores = np.nan_to_num(of(totals))
        return scores[..., num_first:].mean(-1) - scores[..., :num_first].mean(-1)

    value = float(difference(runs.sum(0), num_first))
    low, high = interval(difference(resample(runs, seed=seed), num_first))
    both = np.stack([first.mean(1), second.mean(1)], axis=1)
    total, as_large, swaps = both.sum(0), 0, 0
    observed = abs(difference(total, 1))
    rng = np.random.default_rng(seed + 1)
    differs = (both[:, 0] != both[:, 1]).any(-1)  # A swap of equal sums has no effect.
    moved = (both[differs][:, ::-1] - both[differs]).reshape(-1, total.size)
    for number in _pieces(SWAPS, len(moved)):
        swapped = rng.integers(2, size=(number, len(moved)), dtype=np.int8)
        sums = total + (swapped.astype(np.float64) @ moved).reshape(number, *total.shape)
        as_large += int((abs(difference(sums, 1)) >= observed * (1 - 1e-9) - 1e-12).sum())
        swaps += number
    return Difference(value, low, high, (as_large + 1) / (swaps + 1))


def _pieces(rounds: int, number: int) -> Iterator[int]:
    """Cut rounds of `number` random numbers into pieces, so that memory and time stay bounded."""
    rounds = min(rounds, max(100, MOST_CELLS // max(number, 1)))
    at_once = max(1, CELLS // max(number, 1))
    for done in range(0, rounds, at_once):
        yield min(at_once, rounds - done)


@dataclass(frozen=True)
class Bin:
    """The predictions whose probability lies in one range.

    Attributes:
        confidence: the mean probability.
        accuracy: the share of right predictions.
        number: the number of predictions.
    """

    confidence: float
    accuracy: float
    number: int


def calibration(
    probabilities: np.ndarray, right: np.ndarray, *, bins: int = 10
) -> tuple[list[Bin], float]:
    """Compare the probabilities of predictions with the share of them that is right.

    Args:
        probabilities: float [num_predictions], the probability of each predicted label.
        right: bool [num_predictions], True if the predicted label is the gold label.
        bins: the number of bins of equal width.

    Returns:
        The bins that are not empty, and the expected calibration error: the mean distance between
        confidence and accuracy, weighted by the number of predictions.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    filled = [
        Bin(float(probabilities[at].mean()), float(right[at].mean()), int(at.sum()))
        for at in (places == number for number in range(bins))
        if at.any()
    ]
    gaps = sum(abs(one.confidence - one.accuracy) * one.number for one in filled)
    return filled, gaps / max(len(probabilities), 1)
