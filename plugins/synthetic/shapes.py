"""Soft-edged shapes, drawn oversampled: each is a coverage in 0..1, [S, S]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .canvas import REFERENCE
from .fields import Field, Generator, between

Points = NDArray[np.float64]
"""A polyline, [K, 2] as x, y in reference pixels."""

_OVERSAMPLING = 3


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
    path: Points = start + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    return path


def somewhere(rng: Generator, margin: float = 12.0) -> Points:
    """A point at least `margin` reference pixels inside the picture, [2]."""
    return rng.uniform(margin, REFERENCE - margin, 2)
