"""Intervals and tests of scores: honest where little was seen, paired where there are seeds."""

import numpy as np
import pytest

from tagloop.pages import statistics
from tagloop.pages.blocks import group_blocks, type_section
from tagloop.pages.seed_tests import holm, permutation_p
from tagloop.pages.sentences import Sentence
from tagloop.pages.statistics import compare, resample, score_interval, scores_of, wilson


def test_wilsons_interval_is_that_of_the_literature():
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29; two-sided 95%."""
    for right, number, low, high in (
        (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718),
    ):  # fmt: skip
        assert wilson(right / number, number) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("truth", [0.8, 0.95])
def test_an_interval_of_few_spans_holds_the_true_score_as_often_as_it_says(truth):
    """24 spans, often all right: a bootstrap alone would say 1.000 to 1.000 and be wrong."""
    rng, hits, alone = np.random.default_rng(0), 0, 0
    for _ in range(200):
        right = rng.random(24) < truth
        counts = np.stack([right, np.ones(24), np.ones(24)], axis=1).astype(int)
        drawn = scores_of(resample(counts))[:, 2]
        low, high = score_interval(float(right.mean()), 24, drawn)
        assert low < high
        hits += low <= truth <= high
        low, high = statistics.interval(drawn)
        alone += low <= truth <= high
    assert hits >= 184
    assert alone < hits


def test_groups_are_compared_by_the_means_over_their_seeds():
    """Two systems that differ by what one seed alone does not show."""
    rng, number = np.random.default_rng(3), 300

    def system(quality: float, seeds: int) -> np.ndarray:
        right = rng.random((number, seeds)) < quality
        return np.stack([right, np.ones_like(right), np.ones_like(right)], axis=2).astype(int)

    first, second = system(0.80, 3), system(0.88, 5)
    found = compare(first, second)
    f1 = [scores_of(side.sum(0))[:, 2].mean() for side in (first, second)]
    assert found.value == pytest.approx(f1[1] - f1[0])
    assert found.low < found.value < found.high
    one = compare(first[:, 0], second[:, 0])
    assert found.high - found.low < one.high - one.low, "more seeds: less noise"
    assert found.p_value < 0.01
    # The order of the seeds means nothing, and a group does not differ from itself.
    assert compare(first[:, ::-1], second).value == pytest.approx(found.value)
    same = compare(first, first[:, ::-1])
    assert same.p_value == 1
    assert same.value == pytest.approx(0)


@pytest.mark.medium
def test_seeds_of_the_same_experiment_are_rarely_told_apart():
    """p is at most 0.1 in a tenth of the cases where nothing differs, counted out or drawn."""
    rng = np.random.default_rng(0)
    small = sum(permutation_p(rng.random(5), rng.random(5)) <= 0.1 for _ in range(200))
    assert 8 <= small <= 34
    drawn = [permutation_p(rng.random(9), rng.random(9), seed=at) for at in range(5)]
    assert min(drawn) > 0.001
    assert permutation_p([0.5, 0.5], [0.5, 0.5]) == 1
    assert permutation_p(rng.random(10), 2 + rng.random(10)) < 0.001
    assert permutation_p([0.1, 0.2], [0.8, 0.9]) == pytest.approx(1 / 3)


def test_holms_p_values_are_raised_by_the_number_of_tests_that_are_left():
    assert holm([0.0121, 0.0142, 0.1986]) == pytest.approx([0.0363, 0.0363, 0.1986])
    assert holm([0.5, 0.9, 0.8]) == [1.0, 1.0, 1.0]
    assert holm([]) == []


def test_a_split_without_a_span_in_gold_and_prediction_has_no_scores_to_show():
    nothing = [Sentence(["Rain", "fell"], [], [])] * 3
    assert not type_section(nothing, "type").blocks
    assert group_blocks(nothing, lambda _, span: span[2], ["PER"], "type", has_spans=True) == []
