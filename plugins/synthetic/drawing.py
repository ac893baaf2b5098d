"""Draw one picture of a surface, with or without a defect."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_closing, uniform_filter

from .canvas import Canvas, plane
from .defects import DEFECTS, HIDDEN
from .fields import Field, Generator
from .nuisance import border, camera, light, specks
from .surfaces import SURFACES, Surface

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
    return _draw(rng, SURFACES[surface], defect, size)


def _draw(rng: Generator, surface: Surface, defect: str | None, size: int) -> Drawing:
    canvas = Canvas.of(rng, surface, size)
    picture = canvas.render(*plane(size))
    on_camera, on_defect = rng.spawn(2)
    mask = np.zeros((size, size), bool)
    if defect is not None:
        picture, mask = _with_defect(on_defect, canvas, picture, defect)
    picture = picture * light(on_camera, size)[..., None]
    if on_camera.random() < 0.4:
        specks(on_camera, picture)
    if on_camera.random() < 0.1:
        mask = mask & (border(on_camera, picture) > 0)
    picture = camera(on_camera, picture)
    image = np.clip(picture + 0.5, 0.0, 255.0).astype(np.uint8)
    return Drawing(image, mask, surface.name, defect, canvas.colour)


def _with_defect(rng: Generator, canvas: Canvas, clean: Field, defect: str) -> tuple[Field, NDArray[np.bool_]]:
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
    closed: NDArray[np.bool_] = binary_closing(shows, np.ones((3, 3), bool), iterations=2) & allowed
    return closed
