"""Tests of scores over seeds, and of several differences at once."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

MOST_DIVISIONS = 20_000  # More divisions of the seeds are drawn and not counted out.


def permutation_p(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> float:
    """The p-value of a difference between the mean scores of two groups of seeds.

    The test is Fisher's and Pitman's permutation test (Pitman 1937, Supplement to the JRSS 4): the
    share of all divisions of the scores into groups of these sizes whose means differ at least as
    much. It assumes no distribution. Few seeds cannot give a small p: see `least_p`.

    Args:
        first, second: the score of every seed; two seeds or more in each group.

    >>> permutation_p([0.1, 0.2, 0.3], [0.7, 0.8, 0.9])
    0.1
    """
    scores, size = np.array([*first, *second]), len(first)
    observed = abs(np.mean(first) - np.mean(second))

    def count(members: np.ndarray) -> int:  # members: bool [num_divisions, num_scores]
        sums = members @ scores
        means = sums / size, (scores.sum() - sums) / (len(scores) - size)
        return int((abs(means[0] - means[1]) >= observed - 1e-12).sum())

    number = math.comb(len(scores), size)
    if number <= MOST_DIVISIONS:
        members = np.zeros((number, len(scores)), dtype=bool)
        for row, chosen in enumerate(itertools.combinations(range(len(scores)), size)):
            members[row, list(chosen)] = True
        return count(members) / number
    places = np.random.default_rng(seed).random((MOST_DIVISIONS, len(scores))).argsort(axis=1)
    return (count(places < size) + 1) / (MOST_DIVISIONS + 1)


def least_p(first: int, second: int) -> float:
    """The smallest p that so many seeds in two groups can give in `permutation_p`.

    >>> least_p(3, 3), round(least_p(5, 5), 4)
    (0.1, 0.0079)
    """
    return (2 if first == second else 1) / math.comb(first + second, first)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values of several tests, raised so that all of them can be read at once (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    number, raised, highest = len(p_values), [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(number), key=lambda at: p_values[at])):
        highest = max(highest, min(1.0, (number - rank) * p_values[at]))
        raised[at] = highest
    return raised
