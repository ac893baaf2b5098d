"""Blend a defect into a photograph of a surface, with what photographs vary in: distance, light, tone, grey, noise."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_closing, gaussian_filter, uniform_filter

from .drawing import camera, light, specks
from .fields import REFERENCE, Field, Generator, Points, between, blob, curve, polygon, somewhere, stroke

Photograph = NDArray[np.uint8]
"""Colours of a surface, uint8 [H, W, 3], free of defects."""

Blend = Callable[[Generator, Field, Sequence[Photograph], float], tuple[Any, Field]]
"""(rng, clean picture [S, S, 3], others, strength about 1) -> what it changes to [S, S, 3], coverage [S, S]."""

LEAST_CROP, MOST_CROP = 96, 512
"""Sides of the square that is cut out and seen at the picture's size, in pixels of the photograph."""

AREA = (0.003, 0.12)
"""A defect covers between these parts of the picture."""

_SHOWS = 7.0  # change in grey levels of 0..255 over 3 x 3 pixels
_COVERS = 0.35  # opacity
_ATTEMPTS = 6


def blend(
    photograph: Photograph, others: Sequence[Photograph], rng: Generator, defect: str | None, size: int = REFERENCE
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A picture [S, S, 3] of a part of `photograph` and the mask [S, S] of its defect; `others` lend foreign texture.

    The same generator state always gives the same picture; the surface and its light do not depend on the defect.
    Raises KeyError for an unknown defect.
    """
    on_surface, on_camera, on_defect = rng.spawn(3)
    grey = on_surface.random() < 0.45
    clean = _toned(on_surface, _crop(on_surface, photograph, size), grey)
    picture, mask = clean, np.zeros((size, size), bool)
    if defect is not None:
        picture, mask = with_blend(on_defect, clean, others, BLENDS[defect], grey)
    picture = picture * light(on_camera, size)[..., None]
    if on_camera.random() < 0.2:
        specks(on_camera, picture)
    return np.clip(camera(on_camera, picture) + 0.5, 0.0, 255.0).astype(np.uint8), mask


def _crop(rng: Generator, photograph: Photograph, size: int) -> Field:
    """A square part, turned or mirrored, [S, S, 3]."""
    height, width = photograph.shape[:2]
    most = min(height, width, MOST_CROP)
    least = min(LEAST_CROP, most)
    side = round(float(np.exp(rng.uniform(np.log(least), np.log(most)))))
    top, left = (int(rng.integers(0, free + 1)) for free in (height - side, width - side))
    part = Image.fromarray(photograph[top : top + side, left : left + side])
    seen = np.asarray(part.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    seen = np.rot90(seen, int(rng.integers(4)))
    return seen[:, ::-1] if rng.random() < 0.5 else seen


def _toned(rng: Generator, picture: Field, grey: bool) -> Field:
    """Another exposure of the same surface: grey or tinted, gamma, contrast and brightness."""
    if grey:
        picture = np.repeat(picture.mean(-1, keepdims=True), 3, axis=-1)
    else:
        picture = picture * rng.uniform(0.88, 1.12, 3).astype(np.float32)
    picture = 255.0 * (np.clip(picture, 0.0, 255.0) / 255.0) ** np.float32(between(rng, (0.65, 1.5)))
    mean = picture.mean()
    wanted = np.clip(mean * between(rng, (0.7, 1.35)), 35.0, 215.0)
    contrast = between(rng, (0.6, 1.3))
    return np.clip(wanted + (picture - mean) * np.float32(contrast), 2.0, 253.0).astype(np.float32)


def with_blend(
    rng: Generator, clean: Field, others: Sequence[Photograph], defect: Blend, grey: bool
) -> tuple[Field, NDArray[np.bool_]]:
    """Try until the defect shows over an allowed area; keep the largest of what was tried otherwise."""
    best: tuple[Field, NDArray[np.bool_]] | None = None
    for attempt in range(_ATTEMPTS):
        changed, coverage = defect(rng, clean, others, 1.15**attempt)
        if grey:
            changed = np.repeat(changed.mean(-1, keepdims=True), 3, axis=-1)
        softness = between(rng, (0.25, 1.1)) * clean.shape[0] / REFERENCE
        opacity = np.minimum(1.0, between(rng, (0.45, 1.0)) * 1.1**attempt) * gaussian_filter(coverage, softness)
        picture = clean + (changed - clean) * opacity[..., None]
        change = uniform_filter(np.abs(picture - clean).mean(-1), 3)
        covered = opacity > _COVERS
        mask = binary_closing(covered & (change > _SHOWS), iterations=2) & covered
        if best is None or mask.sum() > best[1].sum():
            best = picture, mask
        if AREA[0] <= mask.mean() <= AREA[1]:
            return picture, mask
    assert best is not None
    return best


def _tone(rng: Generator, clean: Field, coverage: Field, darker: float, strength: float) -> Field:
    """A colour darker or lighter than what the region covers, RGB [3], with a little tint."""
    inside = clean[coverage > 0.3] if (coverage > 0.3).any() else clean.reshape(-1, 3)
    mean = inside.mean(0)
    if rng.random() < darker:
        colour = mean * (1.0 - min(0.95, strength * between(rng, (0.3, 0.85))))
    else:
        colour = mean + (250.0 - mean) * min(0.95, strength * between(rng, (0.3, 0.85)))
    return np.clip(colour + rng.normal(0.0, 10.0, 3), 2.0, 253.0).astype(np.float32)


def _flat(rng: Generator, clean: Field, colour: Field) -> Field:
    """An even coat of a colour with a grain of its own, or one through which the surface still shows."""
    if rng.random() < 0.4:
        return np.clip(clean * ((colour + 1.0) / (clean.mean((0, 1)) + 1.0)), 0.0, 255.0)
    grain = np.float32(between(rng, (0.0, 9.0))) * rng.standard_normal(clean.shape[:2], dtype=np.float32)
    return np.clip(colour + grain[..., None], 0.0, 255.0)


def curves(rng: Generator, clean: Field, others: Sequence[Photograph], strength: float) -> tuple[Field, Field]:
    """One to three thin lines, straight, bent or jagged, some of them branching: cracks, scratches, fibres."""
    lines: list[tuple[Points, float]] = []
    width = between(rng, (1.0, 3.0)) * strength**0.5
    jagged, heading = between(rng, (0.0, 0.6)), between(rng, (0.0, 2 * np.pi))
    start = somewhere(rng, 12.0)
    for _ in range(int(rng.integers(1, 4))):
        length = between(rng, (20.0, 130.0))
        path = curve(start, heading, length, rng.normal(0.0, jagged, 16))
        lines.append((path, width))
        start, heading = path[int(rng.integers(2, len(path)))], heading + rng.normal(0.0, 0.9)
        width = max(1.0, width * between(rng, (0.6, 1.0)))
    coverage = stroke(lines, clean.shape[0])
    return _flat(rng, clean, _tone(rng, clean, coverage, 0.75, strength)), coverage


def foreign(rng: Generator, clean: Field, others: Sequence[Photograph], strength: float) -> tuple[Field, Field]:
    """A piece of another surface."""
    coverage = _region(rng, clean.shape[0], strength)
    other = others[int(rng.integers(len(others)))]
    return _toned(rng, _crop(rng, other, clean.shape[0]), False), coverage


def moved(rng: Generator, clean: Field, others: Sequence[Photograph], strength: float) -> tuple[Field, Field]:
    """A piece of the same surface from another place, turned, enlarged or mirrored."""
    size = clean.shape[0]
    turned = np.rot90(clean, int(rng.integers(1, 4)))
    side = round(size * between(rng, (0.35, 0.8)))
    top, left = (int(c) for c in rng.integers(0, size - side + 1, 2))
    part = Image.fromarray(np.clip(turned[top : top + side, left : left + side], 0, 255).astype(np.uint8))
    enlarged = np.asarray(part.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    shift = np.float32(rng.choice((-1, 1)) * between(rng, (4.0, 30.0)) * strength)
    return np.clip(enlarged + shift, 0.0, 255.0), _region(rng, size, strength)


def stain(rng: Generator, clean: Field, others: Sequence[Photograph], strength: float) -> tuple[Field, Field]:
    """A blot, darker or lighter, with satellites."""
    size = clean.shape[0]
    centre, radius = somewhere(rng, 10.0), between(rng, (2.5, 16.0)) * strength**0.5
    coverage = polygon(blob(rng, centre, radius, 0.5), size)
    for _ in range(int(rng.integers(0, 4))):
        drop = blob(rng, centre + rng.normal(0.0, 1.6 * radius, 2), between(rng, (1.0, 4.0)))
        coverage = np.maximum(coverage, polygon(drop, size))
    return _flat(rng, clean, _tone(rng, clean, coverage, 0.65, strength)), coverage


def blur(rng: Generator, clean: Field, others: Sequence[Photograph], strength: float) -> tuple[Field, Field]:
    """A part worn smooth or wiped along one direction."""
    size = clean.shape[0]
    sigma = strength * between(rng, (2.0, 6.0)) * size / REFERENCE
    along = (sigma, sigma) if rng.random() < 0.5 else ((sigma, 0.4) if rng.random() < 0.5 else (0.4, sigma))
    smooth = gaussian_filter(clean, (*along, 0.0))
    shift = np.float32(rng.choice((-1, 1)) * between(rng, (3.0, 22.0)) * strength)
    return np.clip(smooth + shift, 0.0, 255.0), _region(rng, size, strength)


def _region(rng: Generator, size: int, strength: float) -> Field:
    """A closed region, round or with corners, sometimes long."""
    radius = between(rng, (3.5, 16.0)) * strength**0.5
    outline = blob(rng, np.zeros(2), radius, between(rng, (0.1, 0.5)), corners=int(rng.choice((0, 0, 4, 5, 6))))
    stretch, turn = between(rng, (0.45, 1.0)), between(rng, (0.0, 2 * np.pi))
    cos, sin = np.cos(turn), np.sin(turn)
    squeezed = outline * np.array([1.0, stretch]) @ np.array([[cos, sin], [-sin, cos]])
    return polygon(somewhere(rng, 10.0) + squeezed, size)


BLENDS: dict[str, Blend] = {"curve": curves, "foreign": foreign, "moved": moved, "stain": stain, "blur": blur}
"""Defect kind -> what it changes the surface to, and where."""

SHARES: dict[str, float] = {"curve": 0.4, "foreign": 0.18, "moved": 0.14, "stain": 0.18, "blur": 0.1}
"""How often each kind is drawn where none is asked for."""
