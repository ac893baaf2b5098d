"""Fields on the drawing plane: smooth noise and cellular distances, which textures are made of, and soft-edged shapes.

Lengths are in pixels of the 112 px reference canvas, so one surface looks the same at every image size. A shape is
drawn oversampled, as a coverage in 0..1, [S, S].
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Field = NDArray[np.float32]
"""A plane of numbers, [S, S]."""

Texture = Callable[[Field, Field], Field]
"""Maps surface coordinates (u, v), each [S, S] in reference pixels, to a tone in 0..1, [S, S]."""

Range = tuple[float | int, float | int]
Generator = np.random.Generator

REFERENCE = 112
"""All lengths in this package are in pixels of a canvas of this size."""

_LATTICE = 64
_WRAP = _LATTICE - 1

Points = NDArray[np.float64]
"""A polyline, [K, 2] as x, y in reference pixels."""

_OVERSAMPLING = 3


def between(rng: Generator, bounds: Range) -> float:
    """One uniform draw from `bounds`."""
    return float(rng.uniform(*bounds))


def clamp(field: NDArray[Any]) -> Field:
    """Clip to 0..1."""
    return np.clip(field, 0.0, 1.0).astype(np.float32, copy=False)


def fraction(field: NDArray[Any]) -> Field:
    """The part after the decimal point, 0..1."""
    return field - np.floor(field)


def ridge(field: NDArray[Any]) -> Field:
    """A parabola over each unit interval: 0 at the integers, 1 half way. The profile of a round thread."""
    across: Field = 2.0 * fraction(field) - 1.0
    return np.subtract(1.0, across * across, dtype=np.float32)


def edge(field: Field, at: float, width: float) -> Field:
    """A linear step from 0 to 1 of the given width, centred on `at`."""
    return clamp((field - at) / width + 0.5)


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
        return near * (1.0 - t) + far * t


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
        around = (-1, 0, 1)
        index = np.stack([((i + a) & _WRAP) * _LATTICE + ((j + b) & _WRAP) for a in around for b in around])
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


def _coverage(drawn: Image.Image, size: int) -> Field:
    return np.asarray(drawn.resize((size, size), Image.Resampling.BOX), np.float32) / 255.0


def _scaled(points: Points, size: int) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points * (_OVERSAMPLING * size / REFERENCE)]


def stroke(lines: Sequence[tuple[Points, float]], size: int) -> Field:
    """Coverage of polylines, each with its width in reference pixels."""
    drawn = Image.new("L", (size * _OVERSAMPLING, size * _OVERSAMPLING))
    pen = ImageDraw.Draw(drawn)
    for points, width in lines:
        pen.line(_scaled(points, size), 255, max(1, round(width * _OVERSAMPLING * size / REFERENCE)), joint="curve")
    return _coverage(drawn, size)


def polygon(points: Points, size: int) -> Field:
    """Coverage of a closed polygon."""
    drawn = Image.new("L", (size * _OVERSAMPLING, size * _OVERSAMPLING))
    ImageDraw.Draw(drawn).polygon(_scaled(points, size), 255)
    return _coverage(drawn, size)


def blob(rng: Generator, centre: Points, radius: float, roughness: float = 0.25, corners: int = 0) -> Points:
    """A closed outline about `centre`: smooth, or angular when `corners` are given."""
    angles = np.linspace(0.0, 2.0 * np.pi, corners or 40, endpoint=False)
    if corners:
        lengths = radius * rng.uniform(1.0 - 1.5 * roughness, 1.0 + roughness, corners)
    else:
        waves = np.arange(2, 6)[:, None]
        heights = rng.normal(0.0, 1.0, (4, 1)) / waves
        rough = (heights * np.cos(waves * angles + rng.uniform(0, 6.3, (4, 1)))).sum(0)
        lengths = radius * np.clip(1.0 + roughness * rough, 0.4, 1.8)
    stretch, tilt = between(rng, (0.65, 1.0)), between(rng, (0.0, np.pi))
    x, y = lengths * np.cos(angles) / stretch**0.5, lengths * np.sin(angles) * stretch**0.5
    return np.stack([x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)], 1) + centre


def curve(start: Points, heading: float, length: float, bends: NDArray[np.float64]) -> Points:
    """A line of the given length whose heading changes by `bends` (radians) at equal steps."""
    headings = heading + np.cumsum(bends)
    steps = np.stack([np.cos(headings), np.sin(headings)], 1) * (length / len(bends))
    return start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])


def somewhere(rng: Generator, margin: float = 12.0) -> Points:
    """A point at least `margin` reference pixels inside the picture, [2]."""
    return rng.uniform(margin, REFERENCE - margin, 2)
