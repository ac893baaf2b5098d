"""The kinds of defect: how each one changes a clean picture of a surface."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from .canvas import Ground, plane
from .fields import REFERENCE, Field, Generator, Points, between, blob, curve, polygon, somewhere, stroke


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
    return np.clip(mean + shift, 2.0, 253.0).astype(np.float32)


def _blend(picture: Field, changed: NDArray[Any], coverage: Field) -> Field:
    return picture + (changed - picture) * coverage[..., None]


def _tint(canvas: Ground, amount: float) -> float:
    return 0.0 if canvas.grey else amount


def scratch(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
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
    return _blend(picture, colour, coverage), coverage


def crack(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
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
    return _blend(picture, colour, coverage), coverage


def hole(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
    """An opening with a bright or dark rim on one side, where what lies behind shows."""
    outline = blob(rng, somewhere(rng), between(rng, (6.0, 14.0)), 0.3)
    opening = polygon(outline, canvas.size)
    rim = np.clip(polygon(outline + rng.uniform(-2.0, 2.0, 2), canvas.size) - opening, 0.0, 1.0)
    behind = foreign_colour(rng, picture, opening, 1.1 * strength, 0.95, _tint(canvas, 0.2))
    lit = foreign_colour(rng, picture, opening, strength, 0.3, 0.0)
    return _blend(_blend(picture, behind, opening), lit, 0.8 * rim), np.maximum(opening, rim)


def stain(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
    """A translucent blot with satellites, through which the texture still shows."""
    centre, radius = somewhere(rng), between(rng, (8.0, 16.0))
    coverage = polygon(blob(rng, centre, radius, 0.5), canvas.size)
    for _ in range(int(rng.integers(0, 4))):
        drop = blob(rng, centre + rng.normal(0.0, 1.3 * radius, 2), between(rng, (1.5, 3.5)))
        coverage = np.maximum(coverage, polygon(drop, canvas.size))
    opacity = between(rng, (0.55, 0.8))
    colour = foreign_colour(rng, picture, coverage, 1.5 * strength, 0.85, _tint(canvas, 0.5))
    return _blend(picture, colour, opacity * coverage), coverage


def fibre(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
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
    return _blend(picture, colour, coverage), coverage


def chip(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
    """An angular flake broken out: flat facets of two tones."""
    centre, radius = somewhere(rng), between(rng, (7.0, 14.0))
    outline = blob(rng, centre, radius, 0.3, corners=int(rng.integers(5, 9)))
    flake = polygon(outline, canvas.size)
    half = np.concatenate([outline[: len(outline) // 2 + 1], centre[None]])
    ground = foreign_colour(rng, picture, flake, strength, 0.6, _tint(canvas, 0.15))
    facet = foreign_colour(rng, picture, flake, strength, 0.7, _tint(canvas, 0.1))
    return _blend(_blend(picture, ground, flake), facet, polygon(half, canvas.size) * flake), flake


def dent(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
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


def warp(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
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


def patch(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
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


def smear(rng: Generator, canvas: Ground, picture: Field, strength: float) -> tuple[Field, Field]:
    """Texture wiped along one direction or worn flat."""
    coverage = polygon(blob(rng, somewhere(rng, 16.0), between(rng, (10.0, 16.0)), 0.35), canvas.size)
    long = max(3, round(strength * between(rng, (15.0, 25.0)) * canvas.size / 112))
    lengths = (long, long) if rng.random() < 0.5 else ((long, 1) if rng.random() < 0.5 else (1, long))
    wiped = uniform_filter(picture, (*lengths, 1), mode="reflect")
    if rng.random() < 0.5:
        wiped = wiped + np.float32(rng.choice((-1, 1)) * strength * between(rng, (8.0, 16.0)))
    return _blend(picture, np.clip(wiped, 0, 255), coverage), coverage


Defect = Callable[[Generator, Ground, Field, float], tuple[Field, Field]]
"""(rng, canvas, clean picture, strength about 1) -> picture with the defect [S, S, 3], region it may change [S, S]."""

DEFECTS: dict[str, Defect] = {
    kind.__name__: kind for kind in (scratch, crack, hole, stain, fibre, chip, dent, warp, patch, smear)
}

HIDDEN: dict[str, frozenset[str]] = {
    "regular": frozenset(),
    "random": frozenset({"warp", "patch"}),
    "even": frozenset({"warp", "patch", "smear"}),
}
"""Order of a surface -> the kinds that only disturb the texture and cannot show on it."""
