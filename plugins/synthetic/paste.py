"""Put a defect onto a whole photograph: pieces cut out and pasted, blended ones, and those that drawings have."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from .blend import BLENDS, Blend, Photograph, with_blend
from .drawing import with_drawn
from .fields import REFERENCE, Field, Generator, between, polygon, somewhere


@dataclass(frozen=True)
class PhotographCanvas:
    """A photograph, float32 [S, S, 3] in 0..255, as defects are drawn onto a surface."""

    picture: Field

    @property
    def size(self) -> int:
        """S."""
        return self.picture.shape[0]

    @property
    def grey(self) -> bool:
        """Whether it has no colour."""
        return bool(np.ptp(self.picture, axis=-1).max() == 0)

    def render(self, x: NDArray[Any], y: NDArray[Any]) -> Field:
        """Its colours at coordinates x, y (reference pixels), mirrored beyond its edges."""
        scale = self.size / REFERENCE
        at = [y * scale - 0.5, x * scale - 0.5]
        return np.stack([map_coordinates(self.picture[..., c], at, order=1, mode="mirror") for c in range(3)], axis=-1)


def paste(
    photograph: Photograph, others: Sequence[Photograph], rng: Generator, kind: str | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The photograph [S, S, 3] with a defect and the mask [S, S] of what it changes; `others` lend foreign texture.

    Where a kind cannot show, such as a moved piece of an even surface, another is taken; None leaves it as it is. The
    same generator state always gives the same picture. Raises KeyError for an unknown kind.
    """
    clean = photograph.astype(np.float32)
    picture, mask = clean, np.zeros(clean.shape[:2], bool)
    if kind is not None:
        for one in (kind, *SURE):
            picture, mask = _with(rng, PhotographCanvas(clean), others, one)
            if mask.mean() >= LEAST_SHOWN:
                break
    return np.clip(picture + 0.5, 0.0, 255.0).astype(np.uint8), mask


def _with(
    rng: Generator, canvas: PhotographCanvas, others: Sequence[Photograph], kind: str
) -> tuple[Field, NDArray[np.bool_]]:
    if kind in PASTED:
        return with_blend(rng, canvas.picture, others, PASTED[kind], canvas.grey)
    return with_drawn(rng, canvas, canvas.picture, kind)


def cut(rng: Generator, clean: Field, others: Sequence[Photograph], strength: float) -> tuple[Field, Field]:
    """A rectangle of the same photograph from another place, its tone changed a little: CutPaste (Li et al. 2021)."""
    return _elsewhere(rng, clean, strength), _rectangle(rng, clean.shape[0], between(rng, (6.0, 20.0)), (0.3, 1.0))


def scar(rng: Generator, clean: Field, others: Sequence[Photograph], strength: float) -> tuple[Field, Field]:
    """The same as a thin strip at any angle: CutPaste's scar."""
    return _elsewhere(rng, clean, strength), _rectangle(rng, clean.shape[0], between(rng, (5.0, 14.0)), (0.1, 0.3))


def _elsewhere(rng: Generator, clean: Field, strength: float) -> Field:
    """The photograph moved by a third of its side at least, so that every place shows another."""
    size = clean.shape[0]
    moved = np.roll(clean, tuple(int(step) for step in rng.integers(size // 3, 2 * size // 3 + 1, 2)), axis=(0, 1))
    factor = 1.0 + strength * np.float32(between(rng, (0.0, 0.3)) * rng.choice((-1, 1)))
    return np.clip(moved * factor, 0.0, 255.0)


def _rectangle(rng: Generator, size: int, half: float, shape: tuple[float, float]) -> Field:
    """Coverage [S, S] of a turned rectangle; `half` its longer side, in reference pixels, `shape` of it the shorter."""
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * (half, half * between(rng, shape))
    turn = between(rng, (0.0, 2 * np.pi))
    cos, sin = np.cos(turn), np.sin(turn)
    return polygon(somewhere(rng, 10.0) + corners @ np.array([[cos, sin], [-sin, cos]]), size)


def squeezed(picture: Image.Image, size: int) -> Photograph:
    """A photograph at S x S pixels, as the engine sees it."""
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


PASTED: dict[str, Blend] = {"cut": cut, "scar": scar, **BLENDS}
"""Kinds that are cut and pasted, or blended; all others are drawn."""

LEAST_SHOWN = 0.001
"""Part of the picture that a defect covers at least."""

SURE = ("curve", "chip")
"""Kinds that show on any surface."""
