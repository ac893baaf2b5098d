"""Batches of captioned crops from a slowly renewed pool of drawings.

A caption speaks of a defect only where the crop shows it. Beside it stands what captions of the crop's four quarters
would say: that they show the defect, or that they do not. This is all that training learns about where defects are;
the drawings' masks decide what is said and go no further.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from aaclip_kit_plugins.synthetic import PRETRAIN_SURFACES, Drawing, defects_of, draw
from aaclip_kit_plugins.synthetic.fields import Generator
from numpy.typing import NDArray

from .captions import KINDS, Caption, agreement, caption
from .recipe import Recipe

SIZE, PATCH = 112, 8
SHOWS = 14
"""Pixels of a defect from which a crop or one of its quarters is said to show it; 1 to 13 pixels stay unsaid."""


@dataclass(frozen=True)
class Batch:
    """B crops and their words.

    `images` uint8 [B, s, s, 3]; `corner` [B, 2] the crop's first patch row and column; `captions` B; `agreement`
    bool [B, B]; `surface`, `kind` int [B] (kind = number of kinds where nothing shows);
    `quarters` int8 [B, 4]: 1 shows the defect, 0 does not, -1 unsaid, in the order upper left, upper right, lower left,
    lower right.
    """

    images: NDArray[np.uint8]
    corner: NDArray[np.int64]
    captions: tuple[Caption, ...]
    agreement: NDArray[np.bool_]
    surface: NDArray[np.int64]
    kind: NDArray[np.int64]
    quarters: NDArray[np.int8]


def generator(*key: int) -> Generator:
    """An independent random stream for a key of integers."""
    return np.random.Generator(np.random.PCG64(list(key)))


def numbered(recipe: Recipe, worker: int, index: int) -> Drawing:
    """A worker's drawing with this running number."""
    rng = generator(recipe.seed, 1, worker, index)
    surface = PRETRAIN_SURFACES[int(rng.integers(len(PRETRAIN_SURFACES)))]
    kinds = defects_of(surface)
    defect = kinds[int(rng.integers(len(kinds)))] if rng.random() < recipe.defective else None
    return draw(surface, int(rng.integers(2**31)), defect, SIZE)


class Pool:
    """The drawings that step `step` may use: a window that moves on by `fresh` drawings a step."""

    def __init__(self, recipe: Recipe, step: int = 0, worker: int = 0) -> None:
        self._recipe = recipe
        self._worker = worker
        self._step = step
        first = step * recipe.fresh
        self._drawings = {k % recipe.pool: numbered(recipe, worker, k) for k in range(first, first + recipe.pool)}

    def batch(self, size: int, count: int) -> Batch:
        """The next step's batch of `count` crops of side `size`."""
        rng = generator(self._recipe.seed, 2, self._worker, self._step)
        slots = rng.integers(self._recipe.pool, size=count)
        made = _batch(rng, [self._drawings[int(slot)] for slot in slots], size)
        newest = self._step * self._recipe.fresh + self._recipe.pool
        for k in range(newest, newest + self._recipe.fresh):
            self._drawings[k % self._recipe.pool] = numbered(self._recipe, self._worker, k)
        self._step += 1
        return made


def _batch(rng: Generator, drawings: Iterable[Drawing], size: int) -> Batch:
    images, corners, captions, pictures, quarters = [], [], [], [], []
    for drawing in drawings:
        image, mask, corner = _crop(rng, drawing, size)
        seen = int(mask.sum())
        half = size // 2
        parts = [mask[:half, :half], mask[:half, half:], mask[half:, :half], mask[half:, half:]]
        said = [1 if p.sum() >= SHOWS else (-1 if p.any() else 0) for p in parts]
        defect = drawing.defect if seen >= SHOWS else None
        images.append(image)
        corners.append(corner)
        captions.append(caption(rng, drawing.surface, drawing.colour, defect))
        pictures.append((drawing.surface, drawing.colour, defect))
        quarters.append(said)
    return Batch(
        np.stack(images),
        np.array(corners, np.int64),
        tuple(captions),
        agreement(captions, pictures),
        np.array([PRETRAIN_SURFACES.index(p[0]) for p in pictures], np.int64),
        np.array([len(KINDS) if p[2] is None else KINDS.index(p[2]) for p in pictures], np.int64),
        np.array(quarters, np.int8),
    )


def _crop(rng: Generator, drawing: Drawing, size: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_], tuple[int, int]]:
    """A crop on the patch grid, turned or mirrored; about half of those from defective drawings meet the defect."""
    image, mask = drawing.image, drawing.mask
    if rng.random() < 0.5:
        image, mask = image.transpose(1, 0, 2), mask.T
    turns = int(rng.integers(4))
    image, mask = np.rot90(image, turns), np.rot90(mask, turns)
    free = (SIZE - size) // PATCH
    row, column = (int(c) for c in rng.integers(0, free + 1, 2))
    rows, columns = np.nonzero(mask)
    if free and rows.size and rng.random() < 0.55:
        at = int(rng.integers(rows.size))
        reach = rng.integers(6, size - 6, 2)
        row = int(np.clip((rows[at] - reach[0]) // PATCH, 0, free))
        column = int(np.clip((columns[at] - reach[1]) // PATCH, 0, free))
    window = slice(row * PATCH, row * PATCH + size), slice(column * PATCH, column * PATCH + size)
    return image[window], mask[window], (row, column)
