"""Scalar fields on the drawing plane: smooth noise and cellular distances, the material that textures are made of.

Lengths are in pixels of the 112 px reference canvas, so one surface looks the same at every image size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
"""A plane of numbers, [S, S]."""

Texture = Callable[[Field, Field], Field]
"""Maps surface coordinates (u, v), each [S, S] in reference pixels, to a tone in 0..1, [S, S]."""

Range = tuple[float | int, float | int]
Generator = np.random.Generator

_LATTICE = 64
_WRAP = _LATTICE - 1


def between(rng: Generator, bounds: Range) -> float:
    """One uniform draw from `bounds`."""
    return float(rng.uniform(*bounds))


def unit(field: NDArray[Any]) -> Field:
    """Clip to 0..1."""
    clipped: Field = np.clip(field, 0.0, 1.0).astype(np.float32, copy=False)
    return clipped


def fraction(field: NDArray[Any]) -> Field:
    """The part after the decimal point, 0..1."""
    part: Field = field - np.floor(field)
    return part


def ridge(field: NDArray[Any]) -> Field:
    """A parabola over each unit interval: 0 at the integers, 1 half way. The profile of a round thread."""
    across: Field = 2.0 * fraction(field) - 1.0
    profile: Field = np.subtract(1.0, across * across, dtype=np.float32)
    return profile


def edge(field: Field, at: float, width: float) -> Field:
    """A linear step from 0 to 1 of the given width, centred on `at`."""
    return unit((field - at) / width + 0.5)


class LatticeValues:
    """Random values in 0..1 attached to the integer points of a plane that repeats every 64 points."""

    def __init__(self, rng: Generator) -> None:
        self._values = rng.random(_LATTICE * _LATTICE, dtype=np.float32)

    def at(self, i: NDArray[np.int32], j: NDArray[np.int32]) -> Field:
        """Values at integer points, [S, S]."""
        return np.take(self._values, (i & _WRAP) * _LATTICE + (j & _WRAP))


class Noise(LatticeValues):
    """Smooth value noise in 0..1; the lattice spacing is one unit of its arguments."""

    def __call__(self, u: Field, v: Field) -> Field:
        """Noise at coordinates in lattice units, [S, S]."""
        floor_u, floor_v = np.floor(u), np.floor(v)
        i, j = floor_u.astype(np.int32), floor_v.astype(np.int32)
        s, t = u - floor_u, v - floor_v
        s, t = s * s * (3.0 - 2.0 * s), t * t * (3.0 - 2.0 * t)
        row, next_row = (i & _WRAP) * _LATTICE, ((i + 1) & _WRAP) * _LATTICE
        column, next_column = j & _WRAP, (j + 1) & _WRAP
        take = self._values.take
        near = take(row + column) * (1.0 - s) + take(next_row + column) * s
        far = take(row + next_column) * (1.0 - s) + take(next_row + next_column) * s
        mixed: Field = near * (1.0 - t) + far * t
        return mixed


class Cells:
    """A cellular (Worley) pattern: one jittered point in each unit square."""

    def __init__(self, rng: Generator, jitter: float = 0.8) -> None:
        spread = (rng.random((2, _LATTICE * _LATTICE), dtype=np.float32) - 0.5) * jitter + 0.5
        self._x, self._y = spread[0], spread[1]
        self._tone = rng.random(_LATTICE * _LATTICE, dtype=np.float32)

    def __call__(self, u: Field, v: Field) -> tuple[Field, Field, Field, Field, Field]:
        """Distance to the nearest and to the second point, the nearest one's offset (x, y) and its own random tone."""
        floor_u, floor_v = np.floor(u), np.floor(v)
        i, j = floor_u.astype(np.int32), floor_v.astype(np.int32)
        s, t = u - floor_u, v - floor_v
        shape = (9, *u.shape)
        index = np.empty(shape, np.int32)
        for k, (di, dj) in enumerate((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)):
            index[k] = ((i + di) & _WRAP) * _LATTICE + ((j + dj) & _WRAP)
        step = np.repeat(np.arange(-1, 2, dtype=np.float32), 3)[:, None, None]
        leap = np.tile(np.arange(-1, 2, dtype=np.float32), 3)[:, None, None]
        x = self._x.take(index) + (step - s)
        y = self._y.take(index) + (leap - t)
        squared = x * x + y * y
        nearest = squared.argmin(0)[None]
        first = np.take_along_axis(squared, nearest, 0)[0]
        np.put_along_axis(squared, nearest, np.float32(9.0), 0)
        second = squared.min(0)
        dx, dy = (np.take_along_axis(offset, nearest, 0)[0] for offset in (x, y))
        tone = self._tone.take(np.take_along_axis(index, nearest, 0)[0])
        return np.sqrt(first), np.sqrt(second), dx, dy, tone
