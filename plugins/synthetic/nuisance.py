"""What normal pictures vary in: light, specks, borders, blur and sensor noise. None of it counts as a defect."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .canvas import REFERENCE, plane
from .fields import Field, Generator, between


def light(rng: Generator, size: int) -> Field:
    """Brightness factors [S, S]: a gradient, a vignette and sometimes one wide soft shade."""
    x, y = plane(size)
    heading = between(rng, (0.0, 2 * np.pi))
    s, t = x / REFERENCE - 0.5, y / REFERENCE - 0.5
    factor = 1.0 + between(rng, (0.0, 0.45)) * (s * np.float32(np.cos(heading)) + t * np.float32(np.sin(heading)))
    factor = factor - between(rng, (0.0, 0.35)) * (s * s + t * t)
    if rng.random() < 0.35:
        a, b = (np.float32(c) for c in rng.uniform(-0.5, 0.5, 2))
        shade = between(rng, (-0.22, 0.22))
        factor = factor + shade * np.exp(-((s - a) ** 2 + (t - b) ** 2) * np.float32(1.0 / 0.09))
    return np.asarray(factor * between(rng, (0.85, 1.1)), np.float32)


def specks(rng: Generator, picture: Field) -> None:
    """Scatter a few dots of one or two reference pixels, in place."""
    size = picture.shape[0]
    width = max(1, round(size / REFERENCE))
    for _ in range(int(rng.integers(3, 15))):
        row, column = (int(c) for c in rng.integers(0, size - 2 * width, 2))
        tall, wide = (int(c) * width for c in rng.integers(1, 3, 2))
        step = np.float32(rng.choice((-1, 1)) * between(rng, (20.0, 55.0)))
        picture[row : row + tall, column : column + wide] += step


def border(rng: Generator, picture: Field) -> Field:
    """Lay a plain margin over one or two sides, in place; returns where the surface stays visible, [S, S] in 0..1."""
    size = picture.shape[0]
    visible = np.ones((size, size), np.float32)
    for _ in range(int(rng.integers(1, 3))):
        depth = max(1, round(size * between(rng, (0.02, 0.09))))
        side = int(rng.integers(4))
        area = (slice(0, depth), slice(size - depth, size))[side % 2]
        visible[area if side < 2 else (slice(None), area)] = 0.0
    picture[visible == 0.0] = rng.uniform(5.0, 250.0)
    return visible


def camera(rng: Generator, picture: Field) -> Field:
    """Lens blur and sensor noise."""
    size = picture.shape[0]
    if rng.random() < 0.6:
        sigma = between(rng, (0.35, 0.95)) * size / REFERENCE
        for axis in (0, 1):
            picture = gaussian_filter1d(picture, sigma, axis, mode="nearest", truncate=2.5)
    grain = between(rng, (0.0, 6.0))
    return picture + np.float32(grain) * rng.standard_normal(picture.shape, dtype=np.float32)
