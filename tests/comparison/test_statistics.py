"""Known answers, and how often the intervals hold the truth on simulated studies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from aaclip_kit.comparison.paired_statistics import (
    Interval,
    cluster_bootstrap,
    mean_difference,
    resamples_classes,
    sign_test,
    t_interval,
)

from ..helpers import assert_close

NAN = float("nan")


def test_the_mean_is_over_defined_pairs() -> None:
    assert_close(mean_difference(np.array([[0.1, NAN], [0.2, 0.6]])), 0.3)
    assert mean_difference(np.array([[NAN], [NAN]])) is None


def test_the_t_interval_against_a_worked_example() -> None:
    """Means 1, 2, 3: mean 2, standard error 1 / sqrt(3), t with 2 degrees of freedom 4.302653."""
    found = t_interval(np.array([[0.0, 2.0], [2.0, 2.0], [3.0, 3.0]]))
    half = 4.302653 / 3**0.5
    assert found is not None
    assert_close([found.low, found.high], [2 - half, 2 + half])


def test_one_seed_has_no_interval() -> None:
    for seeds in (np.array([[0.1, 0.2]]), np.array([[0.1, 0.2], [NAN, NAN]])):
        assert cluster_bootstrap(seeds) is None
        assert t_interval(seeds) is None


def test_the_sign_test_against_the_binomial_formula() -> None:
    found = sign_test(np.array([0.1, 0.2, 0.3, -0.1, 0.0, NAN]))
    assert (found.higher, found.lower, found.ties) == (3, 1, 1)
    assert_close(found.p, 2 * (1 + 4) / 2**4)
    assert sign_test(np.ones(5)).p == 0.0625
    assert sign_test(np.zeros(3)).p == 1.0


def test_an_interval_leaves_out_zero_on_either_side() -> None:
    ends = ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), (0.0, 0.0))
    assert [Interval(*one).leaves_out_zero for one in ends] == [True, True, False, False]


def naive_bootstrap(values: np.ndarray, resamples: int) -> np.ndarray:
    """Means of rows and columns drawn one resample after the other."""
    random = np.random.default_rng(7)
    means = []
    for _ in range(resamples):
        rows, columns = (random.integers(0, size, size) for size in values.shape)
        means.append(np.nanmean(values[np.ix_(rows, columns)]))
    return np.array(means)


def test_the_bootstrap_is_that_of_drawn_rows_and_columns() -> None:
    """The tail of the expanded percentile interval for 6 is written out: Phi(-sqrt(6 / 5) * 2.570582)."""
    random = np.random.default_rng(1)
    values = random.normal(size=(6, 1)) + random.normal(size=(1, 7)) + 0.3 * random.normal(size=(6, 7))
    values[2, 3] = NAN
    found = cluster_bootstrap(values)
    assert found is not None
    # Of 20,000 draws the tail has 49, give or take 7 on either side; with the plain t quantile it would have 102.
    assert_tails(found, naive_bootstrap(values, 20_000), tail=0.002432)
    assert found == cluster_bootstrap(values), "the same data give the same interval"


def test_the_tails_are_those_of_the_expanded_percentile_interval() -> None:
    """All 6^6 resamples of six seeds; Phi(-sqrt(6 / 5) * 2.570582) again, where Phi(-2.570582) would be 0.005076."""
    values = np.random.default_rng(4).normal(size=(6, 1))
    found = cluster_bootstrap(values)
    assert found is not None
    assert_tails(found, np.array(list(product(values[:, 0], repeat=6))).mean(axis=1), tail=0.002432)


def assert_tails(found: Interval, means: np.ndarray, tail: float) -> None:
    """On either side of the interval lies that share of the resamples' means, to a half of it."""
    for share in ((means < found.low).mean(), (means > found.high).mean()):
        assert_close(float(share), tail, rtol=0, atol=tail / 2)


def test_few_classes_are_taken_as_given() -> None:
    """Then every resample has all classes, and a constant difference of each class leaves no spread."""
    values = np.tile([0.1, 0.2, 0.9, 0.4], (5, 1))
    assert not resamples_classes(values)
    found = cluster_bootstrap(values)
    assert found is not None
    assert_close([found.low, found.high], [0.4, 0.4])
    assert resamples_classes(np.ones((2, 5)))
    assert not resamples_classes(np.array([[0.1, 0.2, 0.3, 0.4, NAN]]))
    wide = cluster_bootstrap(np.tile([0.1, 0.2, 0.9, 0.4, 0.4], (5, 1)))
    assert wide is not None
    assert wide.high - wide.low > 0.2


def test_undefined_classes_and_seeds_are_left_out_pairwise() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=(5, 6))
    framed = np.full((6, 7), NAN)
    framed[:5, :6] = values
    assert cluster_bootstrap(framed) == cluster_bootstrap(values)
    assert t_interval(framed) == t_interval(values)


@pytest.mark.parametrize(
    ("of_seed", "of_class", "of_pair"), [(1, 0, 0.3), (0, 1, 0.3), (1, 1, 1)], ids=["seeds", "classes", "both"]
)
def test_the_bootstrap_holds_the_truth_as_often_as_it_says(of_seed: float, of_class: float, of_pair: float) -> None:
    """5 seeds and 8 classes, truth zero. 200 studies: the standard error of the rate is 1.5 %."""
    random, studies = np.random.default_rng(3), 200
    held = pairs_held = shown = 0
    for _ in range(studies):
        values = of_seed * random.normal(size=(5, 1)) + of_class * random.normal(size=(1, 8))
        values = values + of_pair * random.normal(size=(5, 8))
        found, over_seeds = cluster_bootstrap(values, resamples=2000), t_interval(values)
        assert found is not None and over_seeds is not None
        held += not found.leaves_out_zero
        shown += found.leaves_out_zero and over_seeds.leaves_out_zero
        half = 1.96 * values.std(ddof=1) / values.size**0.5
        pairs_held += abs(values.mean()) <= half
    assert held / studies >= 0.95 - 0.015
    assert shown / studies <= 0.08, "differences that are none and are called shown"
    assert pairs_held / studies < 0.80, "pairs taken for independent would not do"
