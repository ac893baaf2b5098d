"""Where a large photograph is cut: overlapping square tiles, the same number a side for every image of one size."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from ..contracts.errors import UserError
from ..data.scan import LEAST_SIDE
from ..evaluation.calibration import MOST_ALONG, Tiles

MOST_TILES: Final = 10_000
"""Tiles of one photograph: one of 100 megapixels has 3,100 of 240 pixels."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, as Pillow has it."""


def as_tiles(given: Any, where: str = "tiles") -> Tiles | None:
    """Return what was asked for: "auto", the number of tiles along the shorter side, or None. Raises `UserError`."""
    if given in ("auto", "off", None):
        return None if given != "auto" else "auto"
    try:
        number = None if isinstance(given, bool | float) else int(given)
    except (TypeError, ValueError):
        number = None
    if number is None or not 1 <= number <= MOST_ALONG:
        fix = f"give auto, off, or how many along the shorter side, from 1 to {MOST_ALONG}"
        raise UserError(f"{given!r} is no number of tiles", where=where, fix=fix)
    return number


@dataclass(frozen=True)
class Grid:
    """Tiles of one size, (width, height), that cover an image of `size`: where each column and each row of them begins.

    The first and the last of a row lie flush with the image's edges.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    columns: tuple[int, ...] = (0,)
    rows: tuple[int, ...] = (0,)

    @property
    def is_whole(self) -> bool:
        """Whether its only tile is the whole image."""
        return self.tile == self.size

    @property
    def count(self) -> int:
        """Return how many tiles there are."""
        return len(self.columns) * len(self.rows)

    @property
    def boxes(self) -> Iterator[Box]:
        """Yield each tile's place, row after row."""
        width, height = self.tile
        return ((left, top, left + width, top + height) for top in self.rows for left in self.columns)

    @cached_property
    def _shares(self) -> tuple[list[Float32[np.ndarray, " W"]], list[Float32[np.ndarray, " H"]]]:
        return (
            _shares(self.columns, self.tile[0], self.size[0]),
            _shares(self.rows, self.tile[1], self.size[1]),
        )

    def share(self, place: int) -> Float32[np.ndarray, "H W"]:
        """Return a tile's share of each of its pixels; those of all tiles over a pixel sum to 1.

        The window is a raised cosine along both sides, so that its sum over a regular grid is a product, too.
        """
        row, column = divmod(place, len(self.columns))
        columns, rows = self._shares
        share: Float32[np.ndarray, "H W"] = rows[row][:, None] * columns[column]
        return share


def grid_for(size: tuple[int, int], tiles: Tiles | None, side: int) -> Grid:
    """Cut an image of `size` (width, height) for a model that sees `side` x `side` pixels.

    "auto" takes the number along the shorter side whose tiles are nearest to `side` pixels, and leaves an image whole
    whose longer side is near to it already. Raises `UserError` for more than `MOST_TILES`.
    """
    shorter, longer = sorted(size)
    if tiles is None or (tiles == "auto" and _nearest(longer, side) == 1):
        return Grid(size, size)
    own = _side(shorter, _nearest(shorter, side) if tiles == "auto" else tiles)
    if (count := _count(shorter, own) * _count(longer, own)) > MOST_TILES:
        problem = f"is {size[0]} x {size[1]} pixels, and would be cut into {count:,} tiles, of {MOST_TILES:,} at most"
        raise UserError(problem, fix="ask for fewer along the shorter side, or score it as a whole")
    columns, rows = (_starts(length, own) for length in size)
    return Grid(size, (own, own), columns, rows)


def _nearest(length: int, side: int) -> int:
    """How many tiles along a length are nearest to a side: N of them that overlap by a quarter span (3 N + 1) / 4."""
    return max(1, round((4 * length / side - 1) / 3))


def _side(shorter: int, number: int) -> int:
    return min(shorter, max(LEAST_SIDE, -(-4 * shorter // (3 * number + 1))))


def _count(length: int, side: int) -> int:
    return 1 + -(-4 * (length - side) // (3 * side))


def _starts(length: int, side: int) -> tuple[int, ...]:
    last, count = length - side, _count(length, side)
    return tuple(round(number * last / (count - 1)) for number in range(count)) if count > 1 else (0,)


def _shares(starts: tuple[int, ...], side: int, length: int) -> list[Float32[np.ndarray, " S"]]:
    """The window at each start, divided by the sum of all: above 0 at the centre of every pixel."""
    window, whole = np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2, np.zeros(length)
    for start in starts:
        whole[start : start + side] += window
    return [(window / whole[start : start + side]).astype(np.float32) for start in starts]
