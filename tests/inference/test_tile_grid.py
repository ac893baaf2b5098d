"""Where photographs are cut: every pixel is covered, tiles overlap by a quarter, and shares of a pixel sum to 1."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.inference.tile_grid import MOST_TILES, Grid, as_tiles, grid_for

from ..helpers import assert_close

SIZES = [(8, 8), (40, 30), (30, 40), (100, 100), (101, 97), (9, 300), (1000, 8), (640, 480), (517, 1201)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tiles", [1, 2, 3, 7, "auto"])
def test_square_tiles_cover_every_pixel_lie_flush_and_overlap_by_a_quarter(size: tuple[int, int], tiles: Any) -> None:
    grid, boxes = grid_for(size, tiles, 60), list(grid_for(size, tiles, 60).boxes)
    covered = np.zeros(size[::-1], int)
    for left, top, right, bottom in boxes:
        assert (
            (right - left, bottom - top) == grid.tile and 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        )
        covered[top:bottom, left:right] += 1
    assert covered.min() >= 1
    assert len(boxes) == len(set(boxes)) == grid.count
    assert grid.is_whole or grid.tile[0] == grid.tile[1]
    for starts, length, side in zip((grid.columns, grid.rows), size, grid.tile, strict=True):
        assert starts[0] == 0 and starts[-1] == length - side
        assert all(second - first <= 0.75 * side + 1 for first, second in pairwise(starts))


def test_a_number_is_that_of_tiles_along_the_shorter_side() -> None:
    for size in ((640, 480), (480, 640), (700, 700)):
        for number in (1, 2, 5, 9):
            grid = grid_for(size, number, 518)
            shorter = grid.rows if size[0] > size[1] else grid.columns
            assert len(shorter) == number
    assert grid_for((700, 700), 1, 518).is_whole and not grid_for((701, 700), 1, 518).is_whole
    assert grid_for((20, 20), 50, 518).tile == (8, 8), "none is smaller than the smallest image"


def test_auto_takes_tiles_of_about_the_models_size_and_leaves_small_images_whole() -> None:
    sides = {size: grid_for((size, size), "auto", 240) for size in (300, 400, 600, 1000, 4000, 10_000)}
    assert sides[300].is_whole and sides[300].count == 1
    for size, grid in sides.items():
        assert size == 300 or 0.75 * 240 <= grid.tile[0] <= 1.4 * 240
    assert sides[10_000].count <= 3300 and grid_for((300, 20), "auto", 240).is_whole
    strip = grid_for((1000, 20), "auto", 240)
    assert strip.tile == (20, 20) and len(strip.rows) == 1
    assert grid_for((1000, 600), None, 240) == Grid((1000, 600), (1000, 600))


@pytest.mark.parametrize("size", SIZES)
def test_shares_are_those_of_the_naive_window_and_sum_to_one(size: tuple[int, int]) -> None:
    grid = grid_for(size, 3, 60)
    width, height = grid.tile
    window = np.array(
        [
            [np.sin(np.pi * (x + 0.5) / width) ** 2 * np.sin(np.pi * (y + 0.5) / height) ** 2 for x in range(width)]
            for y in range(height)
        ]
    )
    whole = np.zeros(size[::-1])
    for left, top, right, bottom in grid.boxes:
        whole[top:bottom, left:right] += window
    assert whole.min() > 0
    total = np.zeros(size[::-1])
    for place, (left, top, right, bottom) in enumerate(grid.boxes):
        share = grid.share(place)
        assert_close(share, (window / whole[top:bottom, left:right]).astype(np.float32))
        total[top:bottom, left:right] += share
    assert_close(total, np.ones_like(total))


@pytest.mark.parametrize(("given", "expected"), [("auto", "auto"), ("off", None), (None, None), ("3", 3), (3, 3)])
def test_what_can_be_asked_for(given: Any, expected: Any) -> None:
    assert as_tiles(given) == expected


@pytest.mark.parametrize("given", ["", "many", "0", 0, -1, "2.5", 2.5, True, 101, [2]])
def test_what_is_no_number_of_tiles_is_told_of(given: Any) -> None:
    with pytest.raises(UserError, match="is no number of tiles") as caught:
        as_tiles(given, "--tiles")
    assert caught.value.where == "--tiles"


def test_more_tiles_than_can_be_meant_are_refused() -> None:
    with pytest.raises(UserError, match="would be cut into 16,667 tiles"):
        grid_for((100_000, 8), "auto", 240)
    assert grid_for((6000, 6000), 100, 240).count == MOST_TILES
