"""Defects that put something over the surface or take something out: scratch, crack, hole, stain, fibre, chip."""

from __future__ import annotations

import numpy as np

from ..canvas import Canvas
from ..fields import Field, Generator, between
from ..shapes import Points, blob, curve, polygon, somewhere, stroke


def foreign_colour(rng: Generator, picture: Field, region: Field, strength: float, darker: float, tint: float) -> Field:
    """A colour that stands off from the surface inside `region` by a number of its own standard deviations, RGB [3].

    `darker` is the probability of the dark side, `tint` the standard deviation of the hue shift. Where the wanted side
    of the range is used up, the other side is taken, so that the distance is kept.
    """
    inside = picture[region > 0.3] if (region > 0.3).any() else picture.reshape(-1, 3)
    mean, spread = inside.mean(0), max(float(inside.std(0).mean()), 6.0)
    distance = strength * max(between(rng, (1.3, 2.2)) * spread, 40.0)
    side = -1.0 if rng.random() < darker else 1.0
    room = float(mean.mean()) if side < 0 else 255.0 - float(mean.mean())
    side = -side if room < distance else side
    shift = np.full(3, side * distance) + rng.normal(0.0, tint * distance, 3)
    colour: Field = np.clip(mean + shift, 2.0, 253.0).astype(np.float32)
    return colour


def _over(picture: Field, colour: Field, coverage: Field) -> Field:
    covered: Field = picture + (colour - picture) * coverage[..., None]
    return covered


def _tint(canvas: Canvas, amount: float) -> float:
    return 0.0 if canvas.grey else amount


def scratch(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """One to three long, nearly straight lines side by side."""
    length, width = between(rng, (35.0, 90.0)), between(rng, (1.6, 3.4)) * strength**0.5
    heading, start = between(rng, (0.0, 2 * np.pi)), somewhere(rng, 20.0)
    start = start - 0.5 * length * np.array([np.cos(heading), np.sin(heading)])
    bends = np.full(10, between(rng, (-0.04, 0.04)))
    lines = []
    for k in range(int(rng.integers(1, 4))):
        shift = (k * between(rng, (3.0, 5.0))) * np.array([-np.sin(heading), np.cos(heading)])
        lines.append((curve(start + shift, heading, length * between(rng, (0.6, 1.0)), bends), width))
    coverage = stroke(lines, canvas.size)
    colour = foreign_colour(rng, picture, coverage, strength, 0.4, _tint(canvas, 0.1))
    return _over(picture, colour, coverage), coverage


def crack(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """A jagged, branching line that thins out."""
    length, width = between(rng, (40.0, 90.0)), between(rng, (2.0, 3.6)) * strength**0.5
    heading = between(rng, (0.0, 2 * np.pi))
    start = somewhere(rng, 20.0) - 0.4 * length * np.array([np.cos(heading), np.sin(heading)])
    trunk = curve(start, heading, length, rng.normal(0.0, 0.55, 16))
    lines: list[tuple[Points, float]] = [(trunk[:9], width), (trunk[8:], 0.7 * width)]
    for _ in range(int(rng.integers(1, 4))):
        side = heading + between(rng, (0.5, 1.1)) * (1 if rng.random() < 0.5 else -1)
        root = trunk[int(rng.integers(3, 13))]
        lines.append((curve(root, side, between(rng, (10.0, 28.0)), rng.normal(0.0, 0.5, 7)), 0.6 * width))
    coverage = stroke(lines, canvas.size)
    colour = foreign_colour(rng, picture, coverage, strength, 0.95, _tint(canvas, 0.05))
    return _over(picture, colour, coverage), coverage


def hole(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """An opening with a bright or dark rim on one side, where what lies behind shows."""
    outline = blob(rng, somewhere(rng), between(rng, (6.0, 14.0)), 0.3)
    opening = polygon(outline, canvas.size)
    rim = np.clip(polygon(outline + rng.uniform(-2.0, 2.0, 2), canvas.size) - opening, 0.0, 1.0)
    behind = foreign_colour(rng, picture, opening, 1.1 * strength, 0.95, _tint(canvas, 0.2))
    lit = foreign_colour(rng, picture, opening, strength, 0.3, 0.0)
    return _over(_over(picture, behind, opening), lit, 0.8 * rim), np.maximum(opening, rim)


def stain(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """A translucent blot with satellites, through which the texture still shows."""
    centre, radius = somewhere(rng), between(rng, (8.0, 16.0))
    coverage = polygon(blob(rng, centre, radius, 0.5), canvas.size)
    for _ in range(int(rng.integers(0, 4))):
        drop = blob(rng, centre + rng.normal(0.0, 1.3 * radius, 2), between(rng, (1.5, 3.5)))
        coverage = np.maximum(coverage, polygon(drop, canvas.size))
    opacity = between(rng, (0.55, 0.8))
    colour = foreign_colour(rng, picture, coverage, 1.5 * strength, 0.85, _tint(canvas, 0.5))
    return _over(picture, colour, opacity * coverage), coverage


def fibre(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """Loose hairs or threads that lie on the surface in curls."""
    lines = []
    start = somewhere(rng, 25.0)
    for _ in range(int(rng.integers(1, 4))):
        bends = np.repeat(rng.normal(0.0, 0.35, 5), 6)
        heading, length = between(rng, (0.0, 2 * np.pi)), between(rng, (35.0, 80.0))
        path = curve(start + rng.normal(0.0, 5.0, 2), heading, length, bends)
        lines.append((path, between(rng, (1.4, 2.4)) * strength**0.5))
    coverage = stroke(lines, canvas.size)
    colour = foreign_colour(rng, picture, coverage, strength, 0.7, _tint(canvas, 0.5))
    return _over(picture, colour, coverage), coverage


def chip(rng: Generator, canvas: Canvas, picture: Field, strength: float) -> tuple[Field, Field]:
    """An angular flake broken out: flat facets of two tones."""
    centre, radius = somewhere(rng), between(rng, (7.0, 14.0))
    outline = blob(rng, centre, radius, 0.3, corners=int(rng.integers(5, 9)))
    flake = polygon(outline, canvas.size)
    half = np.concatenate([outline[: len(outline) // 2 + 1], centre[None]])
    ground = foreign_colour(rng, picture, flake, strength, 0.6, _tint(canvas, 0.15))
    facet = foreign_colour(rng, picture, flake, strength, 0.7, _tint(canvas, 0.1))
    return _over(_over(picture, ground, flake), facet, polygon(half, canvas.size) * flake), flake
