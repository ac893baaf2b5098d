"""Frozen features of training images, each made once for as long as the store holds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..cache.feature_store import FeatureStore
from ..cache.keys import view_key
from ..contracts.data import Sample
from ..data.loader import Batch, View
from ..experiment.schema import AugmentationTable
from ..model.image_tower import Frozen, ImageSide, Levels, frozen_embedding, frozen_features

What = Literal["patches", "class"]


@dataclass(frozen=True)
class CachedFeatures:
    """Frozen features of training images, each made once for as long as the store holds it.

    `contents` has the checksum of each image's file. Features are put into the store as they were computed, so what
    comes out is bit for bit what went in.
    """

    image: ImageSide
    store: FeatureStore
    contents: Mapping[Path, str]
    table: AugmentationTable
    image_of: Callable[[Sample, View], Float[Tensor, "3 S S"]]
    """Decodes an image that a batch lacks."""

    def key(self, sample: Sample, view: View, what: What) -> str:
        """The store's key of a view."""
        strength = (self.table.geometry, self.table.rotation, self.table.translation) if view else ()
        return view_key(self.contents[sample.image], (what, *strength, *view))

    def holds_patches(self, sample: Sample, view: View) -> bool:
        """Whether the patch features of a view are there."""
        return self.store.get(self.key(sample, view, "patches")) is not None

    def of(self, batch: Batch) -> "CachedBatch":
        """The features of a batch, on the device of its images."""
        return CachedBatch(self.image, batch.images, self, batch)


@dataclass(frozen=True)
class CachedBatch(Frozen):
    """Features of one batch: what the store lacks is computed, of the images that it lacks."""

    cache: CachedFeatures
    batch: Batch

    def levels(self) -> Levels:
        """See `Frozen`."""
        rows = self._rows("patches", self._patches)
        return {level: self._stacked([row[at] for row in rows]) for at, level in enumerate(self.image.levels)}

    def embedding(self) -> Float[Tensor, "B E"]:
        """See `Frozen`."""
        return self._stacked(self._rows("class", lambda images, _: frozen_embedding(self.image, images)))

    def _patches(self, images: Tensor, places: list[int]) -> Float[Tensor, "b levels N E"]:
        features = frozen_features(self.image, images)
        self._store("class", places, features.detection)
        return torch.stack([features.levels[level] for level in self.image.levels], dim=1)

    def _rows(self, what: What, compute: Callable[[Tensor, list[int]], Tensor]) -> list[Tensor]:
        """Each image's features, all on the CPU where the store holds all of them."""
        held = [self.cache.store.get(self._key(what, place)) for place in range(len(self.batch.samples))]
        lacking = [place for place, one in enumerate(held) if one is None]
        if not lacking:
            return [one for one in held if one is not None]
        made = compute(self._images(lacking), lacking)
        self._store(what, lacking, made)
        rows = dict(zip(lacking, made, strict=True))
        return [rows[place] if one is None else one.to(made.device) for place, one in enumerate(held)]

    def _stacked(self, rows: list[Tensor]) -> Tensor:
        return torch.stack(rows).to(self.batch.labels.device, non_blocking=True)

    def _images(self, places: list[int]) -> Float[Tensor, "b 3 S S"]:
        if self.images.shape[1]:
            return self.images if len(places) == len(self.images) else self.images[places]
        # They were in the store when the epoch began, and another run has removed them since.
        pairs = [(self.batch.samples[place], self.batch.views[place]) for place in places]
        return torch.stack([self.cache.image_of(*pair) for pair in pairs]).to(self.images.device)

    def _store(self, what: What, places: list[int], made: Tensor) -> None:
        for place, one in zip(places, made, strict=True):
            self.cache.store.put(self._key(what, place), one)

    def _key(self, what: What, place: int) -> str:
        return self.cache.key(self.batch.samples[place], self.batch.views[place], what)
