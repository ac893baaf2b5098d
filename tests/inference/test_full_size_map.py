"""Blended maps: constant ones stay constant, and others are the naive weighted mean."""

from __future__ import annotations

import numpy as np
import pytest

from aaclip_kit.inference.full_size_map import BlendedMap, stretched
from aaclip_kit.inference.tile_grid import grid_for

from ..helpers import assert_close


@pytest.mark.parametrize("size", [(50, 40), (40, 90), (8, 61), (200, 30)])
def test_a_constant_map_stays_constant(size: tuple[int, int]) -> None:
    grid = grid_for(size, 3, 20)
    blend = BlendedMap(grid)
    for _ in range(grid.count):
        assert not blend.is_whole
        blend.add(np.full((20, 20), 0.7, np.float32), 0.1)
    assert blend.is_whole
    assert_close(blend.values, np.full(size[::-1], 0.7, np.float32))


def test_a_blended_map_is_the_naive_weighted_mean() -> None:
    grid, random = grid_for((50, 40), 2, 20), np.random.default_rng(4)
    maps = [random.normal(size=(20, 20)).astype(np.float32) for _ in range(grid.count)]
    blend = BlendedMap(grid)
    for values in maps:
        blend.add(values, 0.0)
    side, naive = grid.tile[0], np.zeros((40, 50))
    large = [stretched(values, grid.tile) for values in maps]
    for y in range(40):
        for x in range(50):
            weight, total = 0.0, 0.0
            for values, (left, top, right, bottom) in zip(large, grid.boxes, strict=True):
                if left <= x < right and top <= y < bottom:
                    own = np.sin(np.pi * (x - left + 0.5) / side) ** 2 * np.sin(np.pi * (y - top + 0.5) / side) ** 2
                    weight, total = weight + own, total + own * float(values[y - top, x - left])
            naive[y, x] = total / weight
    assert_close(blend.values, naive.astype(np.float32), atol=1e-5)


def test_scores_are_the_largest_of_what_is_looked_at() -> None:
    grid, looked_at = grid_for((40, 20), 1, 20), np.zeros((20, 40), bool)
    looked_at[:, :5] = True
    everything, part = BlendedMap(grid), BlendedMap(grid, looked_at)
    for blend in (everything, part):
        for number in range(grid.count):
            blend.add(np.full((20, 20), number, np.float32), number / 10)
    assert_close(everything.peak, float(grid.count - 1))
    assert_close(part.peak, 0.0)
    assert (everything.detection, part.detection) == ((grid.count - 1) / 10, 0.0)
