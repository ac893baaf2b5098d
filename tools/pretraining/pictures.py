"""Pictures with words and masks, drawn and blended, in a slowly renewed pool that keeps the stem's features of them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from aaclip_kit_plugins.embedded.stem import PATCH, Stem
from aaclip_kit_plugins.synthetic import PRETRAIN_SURFACES, defects_of, draw
from aaclip_kit_plugins.synthetic.blend import BLENDS, SHARES, Photograph, blend
from aaclip_kit_plugins.synthetic.fields import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from .recipe import Recipe
from .towers import stem_features

LEAST = 112
"""Sides of the smallest photograph that is used, in pixels."""

AS_DRAWN = {"moved": "patch", "blur": "smear"}
"""Blended kinds of defect that have the words of a drawn one."""


@dataclass(frozen=True)
class Picture:
    """`image` uint8 [S, S, 3], `mask` bool [S, S], words for what is on it; an unknown `colour` is empty."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    surface: str
    colour: str
    defect: str | None


@dataclass(frozen=True)
class Kept:
    """Stem features [C, G, G] in half precision, part of each patch that the defect covers [N], and the words."""

    features: Tensor
    covered: Tensor
    words: tuple[str, str, str | None]


def generator(*key: int) -> Generator:
    """An independent random stream for a key of integers."""
    return np.random.Generator(np.random.PCG64(list(key)))


def read_photographs(folder: Path) -> list[tuple[str, Photograph]]:
    """Material and pixels of each photograph that SOURCES.csv in the folder names, in its order."""
    with (folder / "SOURCES.csv").open(newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    found = [(row["material"], np.asarray(Image.open(folder / row["file"]).convert("RGB"))) for row in rows]
    return [(material, pixels) for material, pixels in found if min(pixels.shape[:2]) >= LEAST]


def drawn(rng: Generator, surfaces: Sequence[str], defective: float) -> Picture:
    """A drawing of one of these surfaces."""
    surface = surfaces[int(rng.integers(len(surfaces)))]
    kinds = defects_of(surface)
    defect = kinds[int(rng.integers(len(kinds)))] if rng.random() < defective else None
    made = draw(surface, int(rng.integers(2**31)), defect)
    return Picture(made.image, made.mask, surface.replace("_", " "), made.colour, defect)


def blended(rng: Generator, photographs: Sequence[tuple[str, Photograph]], defective: float) -> Picture:
    """A part of one of these photographs, with a defect or without."""
    material, pixels = photographs[int(rng.integers(len(photographs)))]
    others = [photographs[int(k)][1] for k in rng.integers(len(photographs), size=2)]
    kinds = list(BLENDS)
    defect = (
        kinds[int(rng.choice(len(kinds), p=[SHARES[kind] for kind in kinds]))] if rng.random() < defective else None
    )
    image, mask = blend(pixels, others, rng, defect)
    return Picture(image, mask, material, "", AS_DRAWN.get(defect, defect) if defect else None)


def keep(stem: Stem, pictures: Sequence[Picture]) -> list[Kept]:
    """What training needs of the pictures."""
    features = stem_features(stem, np.stack([p.image for p in pictures]))
    masks = torch.from_numpy(np.stack([p.mask for p in pictures]))[:, None].float()
    covered = F.avg_pool2d(masks, PATCH).flatten(1)
    words = [(p.surface, p.colour, p.defect) for p in pictures]
    return [Kept(*each) for each in zip(features, covered, words, strict=True)]


class Pool:
    """The pictures that step `step` may use: a window that moves on by `fresh` pictures a step."""

    def __init__(
        self, recipe: Recipe, stem: Stem, photographs: Sequence[tuple[str, Photograph]], step: int = 0, worker: int = 0
    ) -> None:
        self._recipe, self._stem, self._photographs = recipe, stem, photographs
        self._worker, self._step = worker, step
        self._kept: dict[int, Kept] = {}
        self._take(step * recipe.fresh, recipe.pool)

    def batch(self) -> list[Kept]:
        """The next step's pictures."""
        recipe = self._recipe
        slots = generator(recipe.seed, 2, self._worker, self._step).integers(recipe.pool, size=recipe.batch)
        made = [self._kept[int(slot)] for slot in slots]
        self._take(self._step * recipe.fresh + recipe.pool, recipe.fresh)
        self._step += 1
        return made

    def _take(self, first: int, count: int) -> None:
        numbers = range(first, first + count)
        for start in range(0, count, self._recipe.fresh):
            part = numbers[start : start + self._recipe.fresh]
            for number, kept in zip(part, keep(self._stem, [self._numbered(k) for k in part]), strict=True):
                self._kept[number % self._recipe.pool] = kept

    def _numbered(self, number: int) -> Picture:
        rng = generator(self._recipe.seed, 1, self._worker, number)
        if rng.random() < self._recipe.drawn:
            return drawn(rng, PRETRAIN_SURFACES, self._recipe.defective)
        return blended(rng, self._photographs, self._recipe.defective)
