"""Defects that keep the surface's colours and disturb its texture: warp, patch, smear."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from ..canvas import Canvas, plane
from ..fields import Field, Generator, between
from ..shapes import blob, polygon, somewhere


def _blend(picture: Field, changed: NDArray[Any], coverage: Field) -> Field:
    blended: Field = picture + (changed - picture) * coverage[..., None]
    return blended


def warp(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """Texture pulled or twisted around a point."""
    x, y = plane(canvas.size)
    centre, radius = somewhere(rng, 18.0), between(rng, (12.0, 19.0))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    near = np.clip(1.0 - (dx * dx + dy * dy) / np.float32(radius**2), 0.0, 1.0)
    if rng.random() < 0.5:
        angle = near * np.float32(strength * between(rng, (1.5, 2.6)) * rng.choice((-1, 1)))
        cos, sin = np.cos(angle), np.sin(angle)
        u, v = x + dx * (cos - 1.0) - dy * sin, y + dx * sin + dy * (cos - 1.0)
    else:
        heading, pull = between(rng, (0.0, 2 * np.pi)), strength * between(rng, (7.0, 12.0))
        u, v = x + near * np.float32(pull * np.cos(heading)), y + near * np.float32(pull * np.sin(heading))
    return canvas.render(u, v), (near > 0).astype(np.float32)


def patch(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """A piece of the same material set in turned, shifted and at another scale."""
    x, y = plane(canvas.size)
    centre = somewhere(rng, 16.0)
    outline = blob(rng, centre, between(rng, (10.0, 16.0)), 0.25, corners=int(rng.choice((0, 4, 5, 6))))
    coverage = polygon(outline, canvas.size)
    angle, zoom = between(rng, (0.6, 1.4)) * rng.choice((-1, 1)), between(rng, (1.35, 1.9)) ** rng.choice((-1, 1))
    cos, sin = np.float32(np.cos(angle) * zoom), np.float32(np.sin(angle) * zoom)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    turned = canvas.render(cos * dx - sin * dy + np.float32(171.0 * strength), sin * dx + cos * dy + np.float32(93.0))
    seam = np.float32(1.0) - 0.35 * (4.0 * coverage * (1.0 - coverage))[..., None]
    return _blend(picture, turned * seam, coverage), coverage


def smear(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """Texture wiped along one direction or worn flat."""
    coverage = polygon(blob(rng, somewhere(rng, 16.0), between(rng, (10.0, 16.0)), 0.35), canvas.size)
    long = max(3, round(strength * between(rng, (15.0, 25.0)) * canvas.size / 112))
    lengths = (long, long) if rng.random() < 0.5 else ((long, 1) if rng.random() < 0.5 else (1, long))
    wiped = uniform_filter(picture, (*lengths, 1), mode="reflect")
    if rng.random() < 0.5:
        wiped = wiped + np.float32(rng.choice((-1, 1)) * strength * between(rng, (8.0, 16.0)))
    return _blend(picture, np.clip(wiped, 0, 255), coverage), coverage
