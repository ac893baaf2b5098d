"""What a threshold promises of false alarms holds as often as it says, whatever the scores' distribution."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm

from aaclip_kit.evaluation.false_alarms import (
    NEXT,
    ROUNDING,
    SURE,
    FalseAlarms,
    at_rank,
    images_needed,
    largest_rank,
    standing_out,
)

from ..helpers import assert_close

TRIALS = 4000


def true_rates(images: int, rank: int) -> np.ndarray:
    """Shares of a normal distribution above thresholds that were chosen on samples of it."""
    samples = np.random.default_rng(3).standard_normal((TRIALS, images))
    return np.array([norm.sf(at_rank(sample, rank).threshold) for sample in samples.tolist()])


@pytest.mark.parametrize(("images", "rank"), [(60, 1), (200, 4), (5, 1)])
def test_the_share_of_false_alarms_lies_in_its_interval_as_often_as_promised(images: int, rank: int) -> None:
    promise, rates = FalseAlarms(0.0, images, rank), true_rates(images, rank)
    low, high = promise.interval
    assert_close(
        float(((low <= rates) & (rates <= high)).mean()), SURE, atol=0.012
    )  # 3.5 standard deviations of the share
    assert_close(float(rates.mean()), promise.expected, rtol=0.06)


@pytest.mark.parametrize(("images", "rank"), [(60, 1), (200, 4)])
def test_the_next_parts_called_bad_are_as_many_as_promised(images: int, rank: int) -> None:
    low, high = FalseAlarms(0.0, images, rank).of_next
    called = np.random.default_rng(4).binomial(NEXT, true_rates(images, rank))
    assert ((low <= called) & (called <= high)).mean() >= SURE - 0.012
    assert ((low < called) & (called <= high)).mean() < SURE  # none shorter would do
    assert ((low <= called) & (called < high)).mean() < SURE


def test_sixty_photographs_promise_up_to_six_in_a_hundred() -> None:
    promise = FalseAlarms(0.0, 60, largest_rank(60, 0.02))
    assert promise.rank == 1 and promise.of_next == (0, 6)
    assert_close(promise.interval, (1 - 0.975 ** (1 / 60), 1 - 0.025 ** (1 / 60)))


def test_the_guide_shows_what_is_promised() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "teach.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([\d.]+) % \| (\d+) to (\d+) \|$", guide, re.MULTILINE)
    assert len(rows) == 5
    for images, rate, low, high in rows:
        promise = FalseAlarms(0.0, int(images), 1)
        assert (f"{promise.expected:.1%}", promise.of_next) == (f"{rate}%", (int(low), int(high)))


@pytest.mark.parametrize("rate", [0.1, 0.02, 0.01, 0.003])
def test_as_many_images_as_are_needed_show_a_rate_and_one_fewer_does_not(rate: float) -> None:
    images = images_needed(rate)
    assert largest_rank(images, rate) == 1 and largest_rank(images - 1, rate) == 0
    assert FalseAlarms(0.0, images, 1).expected <= rate + 1e-12


def test_a_threshold_is_above_its_score_by_more_than_rounding_and_not_above_the_next() -> None:
    assert_close(at_rank([0.5, 0.25, 0.75], 1).threshold, 0.75 + ROUNDING, rtol=0, atol=1e-9)
    assert 0.5 < at_rank([0.5, 0.25, 0.75], 2).threshold < 0.75
    assert at_rank([-300.0, -200.0], 1).threshold > -200.0


def test_equal_scores_are_all_below_the_threshold() -> None:
    assert at_rank([1.0, 1.0, 1.0, 0.5], 2).threshold > 1.0


def test_scores_that_stand_far_out_are_found_and_the_largest_is_first() -> None:
    usual = np.random.default_rng(5).standard_normal(60).tolist()
    assert standing_out(usual) == []
    assert standing_out([9.0, *usual, 12.0, -30.0]) == [61, 0]
