"""How sure a score is: bootstrap intervals, and tests of two systems on the same sentences. Pure.

A score is made of counts that are summed over sentences: right, predicted and gold spans. What is
drawn again is sentences, as spans of one sentence are not independent (Berg-Kirkpatrick, Burkett
and Klein 2012; Noreen 1989 for the approximate randomisation). Where all of a few spans are right,
drawing them again always gives 1; Wilson's interval (1927) says how little that proves.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

DRAWS, SWAPS = 1000, 10_000
NORMAL_QUANTILE = 1.959964  # 2.5% of a normal distribution lie above
CELLS = 2_000_000  # random numbers at once
MOST_CELLS = 100_000_000  # and in all: for many sentences fewer draws are as good


def scores_of(totals: np.ndarray, *, undefined: float = 0.0) -> np.ndarray:
    """(right, predicted, gold) -> (precision, recall, F1), [..., 3] both.

    >>> scores_of(np.array([2, 4, 2])).round(3).tolist()
    [0.5, 1.0, 0.667]
    """
    right, predicted, gold = np.moveaxis(np.asarray(totals, dtype=float), -1, 0)
    parts = ((right, predicted), (right, gold), (2 * right, predicted + gold))
    scores = [np.divide(a, b, out=np.full_like(a, undefined), where=b > 0) for a, b in parts]
    return np.stack(scores, axis=-1)


def resample(counts: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Sums over as many sentences as there are, drawn with replacement.

    Args:
        counts: [num_sentences, ...].

    Returns:
        float64 [num_draws, ...].
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
    """The middle 95% of resampled values, [num_draws]; NaN (nothing was drawn) does not count."""
    known = values[~np.isnan(values)]
    low, high = np.quantile(known, (0.025, 0.975)) if len(known) else (0.0, 1.0)
    return float(low), float(high)


def number_of_trials(totals: np.ndarray) -> np.ndarray:
    """How many spans precision, recall and F1 are the right share of, [..., 3] both.

    F1 is the right spans over the mean number of predicted and gold ones.

    >>> number_of_trials(np.array([2, 4, 2])).tolist()
    [4.0, 2.0, 3.0]
    """
    _, predicted, gold = np.moveaxis(np.asarray(totals, dtype=float), -1, 0)
    return np.stack([predicted, gold, (predicted + gold) / 2], axis=-1)


def wilson(share: float, number: float) -> tuple[float, float]:
    """Wilson's 95% interval of a share that was seen in `number` independent trials.

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
    """The 95% interval of precision, recall, F1 or accuracy: the wider of two at either end.

    The bootstrap knows that spans of one sentence are alike, but not what it has never seen: of
    sentences that are all right it draws nothing else. Wilson's interval is wide where few spans
    were seen, but takes them for independent.

    Args:
        number: of spans that the score is a share of, see number_of_trials.
        drawn: the score of resampled sentences, [num_draws]; NaN where it is undefined.
    """
    (low, high), (least, most) = interval(drawn), wilson(score, number)
    return min(low, least), max(high, most)


@dataclass(frozen=True)
class Difference:
    """The second system's score less the first's, and how sure it is."""

    value: float
    low: float
    high: float
    p_value: float


def compare(first: np.ndarray, second: np.ndarray, *, seed: int = 0) -> Difference:
    """Difference in F1 of two systems on the same sentences, each the mean over its seeds.

    The interval is a paired bootstrap's over sentences. The p-value is that of approximate
    randomisation, with every sentence's counts averaged over seeds: how often a difference at
    least as large comes out when it is left to chance which system a sentence's counts belong to.

    Args:
        first, second: right, predicted and gold spans, [num_sentences, 3], or with several seeds
            [num_sentences, num_seeds, 3]; the systems may have different numbers of seeds.
    """
    first, second = (side if side.ndim == 3 else side[:, None] for side in (first, second))
    num_first = first.shape[1]
    runs = np.concatenate([first, second], axis=1)
    value = float(_difference(runs.sum(0), num_first))
    low, high = interval(_difference(resample(runs, seed=seed), num_first))
    both = np.stack([first.mean(1), second.mean(1)], axis=1)
    total, as_large, swaps = both.sum(0), 0, 0
    observed = abs(_difference(total, 1))
    rng = np.random.default_rng(seed + 1)
    differs = (both[:, 0] != both[:, 1]).any(-1)  # a swap of the others changes nothing
    moved = (both[differs][:, ::-1] - both[differs]).reshape(-1, 6)
    for number in _pieces(SWAPS, len(moved)):
        swapped = rng.integers(2, size=(number, len(moved)), dtype=np.int8)
        sums = total + (swapped.astype(np.float64) @ moved).reshape(number, 2, 3)
        as_large += int((abs(_difference(sums, 1)) >= observed - 1e-12).sum())
        swaps += number
    return Difference(value, low, high, (as_large + 1) / (swaps + 1))


def _difference(totals: np.ndarray, num_first: int) -> np.ndarray:
    """Mean F1 of the second system's runs less that of the first's, [...] of [..., num_runs, 3]."""
    f1 = scores_of(totals)[..., 2]
    return f1[..., num_first:].mean(-1) - f1[..., :num_first].mean(-1)


def _pieces(rounds: int, number: int) -> Iterator[int]:
    """Rounds of `number` random numbers each, cut so that memory and time stay bounded."""
    rounds = min(rounds, max(100, MOST_CELLS // max(number, 1)))
    at_once = max(1, CELLS // max(number, 1))
    for done in range(0, rounds, at_once):
        yield min(at_once, rounds - done)


@dataclass(frozen=True)
class Bin:
    """Predictions whose probability lies in one range."""

    confidence: float  # mean probability
    accuracy: float
    number: int


def calibration(
    probabilities: np.ndarray, right: np.ndarray, *, bins: int = 10
) -> tuple[list[Bin], float]:
    """How often predictions of a probability are right, and the expected calibration error.

    Args:
        probabilities: float [num_predictions], of what was predicted.
        right: bool [num_predictions].

    Returns:
        Bins of equal width that hold something, and the mean distance between confidence and
        accuracy, weighted by their numbers.
    """
    places = np.minimum((probabilities * bins).astype(int), bins - 1)
    found = [
        Bin(float(probabilities[at].mean()), float(right[at].mean()), int(at.sum()))
        for at in (places == number for number in range(bins))
        if at.any()
    ]
    gaps = sum(abs(one.confidence - one.accuracy) * one.number for one in found)
    return found, gaps / max(len(probabilities), 1)
