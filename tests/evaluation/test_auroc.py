from __future__ import annotations

import numpy as np
import pytest

from aaclip_kit.evaluation.auroc import Curve

from ..helpers import assert_close


def curve(*points: tuple[float, float]) -> Curve:
    return Curve(*np.array(points, float).T)


def test_area_is_that_under_straight_lines() -> None:
    assert curve((0, 0), (0, 0.5), (0.5, 1), (1, 1)).area() == 0.5 * 0.75 + 0.5


@pytest.mark.parametrize("limit", [0.1, 0.25, 0.3, 0.6])
def test_the_end_at_a_limit_is_interpolated(limit: float) -> None:
    whole = curve((0, 0), (0, 0.2), (0.25, 0.4), (0.25, 0.6), (0.75, 0.9), (1, 1))
    part = whole.up_to(limit)
    assert part.fpr[-1] == limit
    # The area by brute force: many thin strips of the curve, which is vertical at a false positive rate of 0.25.
    places = (np.arange(100_000) + 0.5) * limit / 100_000
    assert_close(part.area(), float(np.interp(places, whole.fpr, whole.hits).mean()) * limit, rtol=1e-4)


def test_the_end_lies_between_its_two_neighbours() -> None:
    assert curve((0, 0), (0.2, 0.5), (0.4, 0.9), (1, 1)).up_to(0.3).points()[-1] == [0.3, 0.7]


def test_a_curve_that_ends_before_the_limit_is_whole() -> None:
    whole = curve((0, 0), (1, 1))
    assert whole.up_to(1.0) is whole


def test_few_points_keep_ends_and_shape() -> None:
    fpr = np.linspace(0, 1, 10_001)
    whole = Curve(fpr, np.sqrt(fpr))
    points = np.array(whole.points())
    assert 150 < len(points) <= 200
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert_close(Curve(points[:, 0], points[:, 1]).area(), whole.area(), rtol=1e-3)


def test_a_curve_of_few_points_keeps_all_that_differ() -> None:
    assert curve((0, 0), (0.5, 0.5), (1, 1)).points() == [[0, 0], [0.5, 0.5], [1, 1]]
