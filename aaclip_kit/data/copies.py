"""Pictures that are there twice: the same pixels in another file, and pictures that look like copies of one another."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32
from PIL import Image

from .decode import open_picture

Look = Float32[np.ndarray, "L"]
"""Signed roots of a picture's low frequencies, all 0 where it shows nothing, and last its mean."""

Looks = Float32[np.ndarray, "_ L"]

_MOST_SIDE: Final = 192
"""Pixels of a side that are looked at, evenly spread: all of them would take a third as long as decoding a JPEG."""

_SIDE, _FREQUENCIES = 32, 8
_PLACES: Final = np.arange(_SIDE)
_WAVES: Final = np.sqrt(2 / _SIDE) * np.cos(np.pi / (2 * _SIDE) * (2 * _PLACES + 1) * _PLACES[:_FREQUENCIES, None])
_WEIGHTS: Final = np.sqrt(np.hypot(_PLACES[:_FREQUENCIES, None], _PLACES[:_FREQUENCIES]))

_FAR: Final = np.float32(np.inf)
_MOST_DISTANCE: Final = 0.32
"""Distance of two copies, as a share of the length of their looks (docs/notebook/copies.md)."""

_SHARE_OF_USUAL: Final = 0.5
"""And as a share of the distance to the second neighbour: in a camera's series of one object all are near."""

_MOST_LIGHTER: Final = 8
"""Grey levels between the means of two copies."""

_LEAST_CONTRAST: Final = 1.0
"""Grey levels, a standard deviation; a picture with less looks like any other."""

_ROWS: Final = 256
"""Looks that are compared with all others at once."""


def pixels_and_look(picture: Image.Image) -> tuple[str, Look]:
    """Return a checksum of the size and of evenly spread pixels of an upright picture in RGB, and its look."""
    width, height = (side // -(-side // _MOST_SIDE) for side in picture.size)
    small = picture.resize((width, height), Image.Resampling.NEAREST)
    checksum = hashlib.sha256(f"{picture.width} x {picture.height} ".encode() + small.tobytes()).hexdigest()
    grey = np.asarray(small.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR), np.float64)
    waves = (_WAVES @ grey @ _WAVES.T * _WEIGHTS).ravel()[1:] * (grey.std() >= _LEAST_CONTRAST)
    # Roots, so that no single light or dark part outweighs all that a copy shares with its original.
    return checksum, np.append(np.sign(waves) * np.sqrt(np.abs(waves)), grey.mean()).astype(np.float32)


def same_pixels(one: Path, other: Path) -> bool:
    """Whether two image files hold the same picture, pixel for pixel. Raises `UserError` where one cannot be read."""
    return np.array_equal(np.asarray(open_picture(one)), np.asarray(open_picture(other)))


def near_pairs(first: Looks, second: Looks) -> Iterator[tuple[int, int]]:
    """Yield the places in `first` and `second` of pictures that look like copies: the nearest for each of `second`.

    Where both are the same object, each picture is compared with those before it.
    """
    limits, own = _limits(first), _limits(second)
    for start, rows in _distances(second, first):
        rows[rows >= np.minimum(limits, own[start : start + len(rows), None])] = _FAR
        if second is first:
            rows[np.arange(len(first)) >= start + np.arange(len(rows))[:, None]] = _FAR
        nearest = rows.argmin(1)
        found = np.flatnonzero(rows[np.arange(len(rows)), nearest] < _FAR)
        yield from ((int(nearest[place]), start + int(place)) for place in found)


def _limits(looks: Looks) -> Float32[np.ndarray, "_"]:
    """How near a copy of each picture must be: far nearer than its second neighbour, since the first may be one."""
    limits = np.full(len(looks), _MOST_DISTANCE, np.float32)
    if len(looks) <= 2:
        return limits
    for start, rows in _distances(looks, looks):
        # Place 0 is the picture itself.
        many = np.flatnonzero(np.isfinite(rows).sum(1) > 2)
        limits[start + many] = np.minimum(_MOST_DISTANCE, _SHARE_OF_USUAL * np.partition(rows[many], 2)[:, 2])
    return limits


def _distances(some: Looks, others: Looks) -> Iterator[tuple[int, Float32[np.ndarray, "_ _"]]]:
    """Yield the distances of some looks to all others, a few rows at a time, each with the number of the first.

    Those that decide nothing are infinite.
    """
    far = _MOST_DISTANCE / _SHARE_OF_USUAL
    squares = [np.square(looks[:, :-1]).sum(1) for looks in (some, others)]
    for start in range(0, len(some), _ROWS):
        here = slice(start, start + _ROWS)
        products, mean = some[here, :-1] @ others[:, :-1].T, (squares[0][here, None] + squares[1]) / 2
        rows, near = np.full(products.shape, _FAR), np.nonzero(products > (1 - far**2 / 2) * mean)
        lighter = np.abs(some[here, -1][near[0]] - others[near[1], -1]) > _MOST_LIGHTER
        apart = np.sqrt(np.maximum(2 - 2 * products[near] / mean[near], 0))
        rows[near] = np.where(lighter, _FAR, apart)
        yield start, rows
