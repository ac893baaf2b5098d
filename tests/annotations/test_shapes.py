"""Outlines as pixels, against the even-odd rule asked of each pixel's middle by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaclip_kit.annotations.shapes import (
    BEYOND,
    OVERLAPPING,
    Patch,
    Undrawable,
    box,
    ellipse,
    outline,
    outlines,
    turned,
)

from ..hostile.given import within


def whole(patch: Patch, width: int, height: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[patch.top : patch.top + patch.marked.shape[0], patch.left : patch.left + patch.marked.shape[1]] = patch.marked
    return mask


def is_inside(points: np.ndarray, x: float, y: float) -> bool:
    """Whether a ray to the left crosses the outline an odd number of times."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
    return crossings % 2 == 1


SIDES = st.integers(1, 9)
PLACES = st.floats(-4, 13).map(lambda value: round(value, 2))


@given(st.lists(st.tuples(PLACES, PLACES), min_size=3, max_size=8), SIDES, SIDES)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_a_pixel_is_marked_where_its_middle_is_inside(
    corners: list[tuple[float, float]], width: int, height: int
) -> None:
    points = np.array(corners)
    expected = [[is_inside(points, x + 0.5, y + 0.5) for x in range(width)] for y in range(height)]
    assert whole(outline(points, width, height), width, height).tolist() == expected


def test_a_polygon_that_crosses_itself_has_a_hole_and_a_bridge_to_an_inner_ring_is_none() -> None:
    ring = [(0, 0), (8, 0), (8, 8), (0, 8), (0, 0), (2, 2), (6, 2), (6, 6), (2, 6), (2, 2)]
    mask = whole(outline(np.array(ring, float), 8, 8), 8, 8)
    expected = np.ones((8, 8), bool)
    expected[2:6, 2:6] = False
    assert (mask == expected).all()


def test_outlines_of_one_mark_are_united_and_it_is_told_where_they_overlap() -> None:
    apart = outlines([box(0.0, 0.0, 2.0, 2.0), box(4.0, 4.0, 2.0, 2.0)], 8, 8)
    assert apart.marked.sum() == 8 and apart.remarks == ()
    nested = outlines([box(0.0, 0.0, 6.0, 6.0), box(2.0, 2.0, 2.0, 2.0)], 8, 8)
    assert nested.marked.sum() == 36 and nested.remarks == (OVERLAPPING,)
    assert not outlines([], 8, 8).marked.any()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_than_three_corners_mark_nothing(count: int) -> None:
    assert not outline(np.full((count, 2), 3.0), 8, 8).marked.any()


def test_what_reaches_beyond_the_image_is_cut_off_and_told_of() -> None:
    assert outline(box(-1.5, 2.0, 20.0, 2.0), 8, 8).remarks == (BEYOND,)
    close = outline(box(-1.5, 2.0, 11.0, 2.0), 8, 8)
    assert close.remarks == () and whole(close, 8, 8).sum() == 16
    assert not outline(box(20.0, 20.0, 5.0, 5.0), 8, 8).marked.any()


def test_a_circle_has_its_area_and_turning_goes_clockwise_on_the_screen() -> None:
    area = outline(ellipse(50.0, 50.0, 40.0, 20.0), 100, 100).marked.sum()
    assert abs(area - np.pi * 40 * 20) < 10
    corners = turned(box(5.0, 5.0, 4.0, 1.0), (5.0, 5.0), 90.0)
    assert np.abs(corners - [(5, 5), (5, 9), (4, 9), (4, 5)]).max() < 1e-9


@pytest.mark.parametrize("place", [np.nan, np.inf, -np.inf, 1e9])
def test_a_corner_that_is_no_place_is_refused(place: float) -> None:
    with pytest.raises(Undrawable, match="no place"):
        outline(np.array([(0, 0), (place, 3), (4, 4)]), 8, 8)


def test_an_outline_of_millions_of_corners_across_the_image_is_refused_soon() -> None:
    zigzag = np.tile([(0.0, 0.0), (5.0, 10_000.0)], (3_000, 1))
    with within(60), pytest.raises(Undrawable, match="too many corners"):
        outline(zigzag, 10, 10_000)
