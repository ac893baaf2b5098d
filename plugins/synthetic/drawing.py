"""Draw one picture of a surface, with or without a defect, and with what normal pictures vary in."""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, gaussian_filter1d, uniform_filter

from .canvas import Canvas, Ground, plane
from .defects import DEFECTS, HIDDEN
from .fields import REFERENCE, Field, Generator, between
from .surfaces import SURFACES

AREA = (0.005, 0.10)
"""A defect covers between these parts of the picture."""

SMALLEST, LARGEST = 56, 256
_SHOWS = 12.0  # mean difference to the clean picture over 3 x 3 pixels, in grey levels of 0..255
_ATTEMPTS = 10


@dataclass(frozen=True)
class Drawing:
    """A picture and what is on it.

    `image` is uint8 [S, S, 3]; `mask` is bool [S, S], true where the defect visibly changes the surface; `colour` is
    the surface's colour word.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    surface: str
    defect: str | None
    colour: str


def defects_of(surface: str) -> tuple[str, ...]:
    """The defect kinds that can show on a surface, by name. Raises KeyError for an unknown surface."""
    hidden = HIDDEN[SURFACES[surface].order]
    return tuple(kind for kind in DEFECTS if kind not in hidden)


def draw(surface: str, seed: int, defect: str | None = None, size: int = 112) -> Drawing:
    """Draw `surface` at S x S pixels. The same arguments always give the same drawing.

    The clean surface and its light depend on surface and seed alone, not on the defect. Raises ValueError for an
    unknown surface, a defect that cannot show on it, or a size outside 56..256.
    """
    if surface not in SURFACES:
        raise ValueError(f"unknown surface {surface!r}")
    if defect is not None and defect not in defects_of(surface):
        raise ValueError(f"defect {defect!r} is unknown or cannot show on {surface!r}")
    if not SMALLEST <= size <= LARGEST:
        raise ValueError(f"size {size} is outside {SMALLEST}..{LARGEST}")
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(surface.encode())]))
    canvas = Canvas.of(rng, SURFACES[surface], size)
    picture = canvas.render(*plane(size))
    on_camera, on_defect = rng.spawn(2)
    mask = np.zeros((size, size), bool)
    if defect is not None:
        picture, mask = with_drawn(on_defect, canvas, picture, defect)
    picture = picture * light(on_camera, size)[..., None]
    if on_camera.random() < 0.4:
        specks(on_camera, picture)
    if on_camera.random() < 0.1:
        mask = mask & (border(on_camera, picture) > 0)
    picture = camera(on_camera, picture)
    image = np.clip(picture + 0.5, 0.0, 255.0).astype(np.uint8)
    return Drawing(image, mask, surface, defect, canvas.colour)


def with_drawn(rng: Generator, canvas: Ground, clean: Field, defect: str) -> tuple[Field, NDArray[np.bool_]]:
    """Try until the defect shows over an allowed area; each attempt is a little stronger than the last."""
    best: tuple[Field, NDArray[np.bool_]] | None = None
    for attempt in range(_ATTEMPTS):
        picture, region = DEFECTS[defect](rng, canvas, clean, 1.08**attempt)
        mask = _visible(clean, picture, region)
        area = float(mask.mean())
        if best is None or area > float(best[1].mean()):
            best = picture, mask
        if AREA[0] <= area <= AREA[1]:
            return picture, mask
    assert best is not None
    return best


def _visible(clean: Field, changed: Field, region: Field) -> NDArray[np.bool_]:
    """Pixels of the region whose surroundings of 3 x 3 pixels differ from the clean picture; pinholes are closed."""
    allowed = region > 0.25
    difference = np.abs(changed - clean).max(-1)
    shows = allowed & (uniform_filter(difference, 3) > _SHOWS)
    return binary_closing(shows, np.ones((3, 3), bool), iterations=2) & allowed


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
