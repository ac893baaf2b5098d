"""Defects of the surface's height, seen through their shading."""

from __future__ import annotations

import numpy as np

from ..canvas import REFERENCE, Canvas, plane
from ..fields import Field, Generator, between
from ..shapes import somewhere


def dent(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """A round hollow or bump: one side lighter, the other darker, the texture bent across it."""
    x, y = plane(canvas.size)
    centre, radius = somewhere(rng), between(rng, (8.0, 15.0))
    stretch, tilt, sun = between(rng, (0.7, 1.4)), between(rng, (0.0, np.pi)), between(rng, (0.0, 2 * np.pi))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    a = (dx * np.cos(tilt) + dy * np.sin(tilt)) / (radius * stretch)
    b = (dy * np.cos(tilt) - dx * np.sin(tilt)) / (radius / stretch)
    squared = (a * a + b * b).astype(np.float32)
    slope = np.where(squared < 1.0, 1.0 - squared, 0.0) * (np.cos(sun) * a + np.sin(sun) * b)
    inside = squared < 1.0
    spread = max(float(picture[inside].std(0).mean()), 10.0) if inside.any() else 10.0
    shading = (strength * max(between(rng, (3.5, 5.0)) * spread, 90.0) * slope).astype(np.float32)
    pinch = between(rng, (0.15, 0.35)) * np.where(inside, (1.0 - squared) ** 2, 0.0).astype(np.float32)
    limit = np.float32(REFERENCE)
    bent = canvas.render(np.clip(x + pinch * dx, 0, limit), np.clip(y + pinch * dy, 0, limit))
    changed = np.where(inside[..., None], bent, picture) + shading[..., None]
    return np.clip(changed, 0.0, 255.0), inside.astype(np.float32)
