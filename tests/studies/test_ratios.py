"""Ratios of paired norms against plain loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aaclip_kit.studies.gradient_dilution import RESAMPLES, paired_ratio

from ..helpers import assert_close


def drawn(inits: int, batches: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    off = random.uniform(0.5, 2.0, (inits, batches))
    return off * random.lognormal(-0.2, 0.3, (inits, batches)), off


def test_the_value_is_the_geometric_mean_of_the_pairs() -> None:
    on, off = drawn(3, 5)
    found = paired_ratio(on, off)
    pairs = [math.log(a / b) for a, b in zip(on.flat, off.flat, strict=True)]
    assert_close(found.value, math.exp(sum(pairs) / 15))
    assert_close(found.by_init[1], math.exp(sum(pairs[5:10]) / 5))
    other = paired_ratio(off, on)
    assert found.value is not None and found.low is not None and found.high is not None
    assert other.value is not None and other.low is not None and other.high is not None
    assert_close(found.value * other.value, 1.0)
    assert_close([found.low * other.high, found.high * other.low], [1.0, 1.0], rtol=1e-3)


def test_the_interval_resamples_initialisations_and_then_their_batches() -> None:
    on, off = drawn(3, 4)
    logs, random = np.log(on / off), np.random.default_rng(7)
    means = []
    for _ in range(RESAMPLES):
        rows = [logs[init][random.integers(4, size=4)] for init in random.integers(3, size=3)]
        means.append(math.exp(np.mean(rows)))
    found = paired_ratio(on, off)
    assert found.value is not None and found.low is not None and found.high is not None
    assert found.low < found.value < found.high
    # Two bootstraps of 2000 differ by chance; within a tenth of the interval's width.
    assert_close(
        [found.low, found.high], np.quantile(means, [0.025, 0.975]).tolist(), atol=0.1 * (found.high - found.low)
    )


def test_pairs_that_share_their_ups_and_downs_give_a_narrow_interval() -> None:
    off = np.array([[0.1, 1.0, 10.0], [0.2, 2.0, 20.0]])
    found = paired_ratio(0.4 * off, off)
    assert_close([found.value, found.low, found.high], [0.4, 0.4, 0.4])


def test_a_gradient_of_zero_is_a_ratio_of_zero() -> None:
    found = paired_ratio(np.zeros((2, 3)), np.ones((2, 3)))
    assert (found.value, found.low, found.high, found.by_init) == (0.0, 0.0, 0.0, (0.0, 0.0))


@pytest.mark.parametrize(("on", "off"), [(1.0, 0.0), (0.0, 0.0), (math.nan, 1.0), (math.inf, 1.0), (1.0, math.inf)])
def test_what_has_no_ratio_is_undefined(on: float, off: float) -> None:
    found = paired_ratio(np.array([[1.0, on]]), np.array([[1.0, off]]))
    assert (found.value, found.low, found.high, found.by_init) == (None, None, None, (None,))


def test_one_pair_has_no_interval() -> None:
    found = paired_ratio(np.array([[1.0]]), np.array([[2.0]]))
    assert (found.value, found.low, found.high) == (0.5, None, None)
