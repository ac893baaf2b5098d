"""Frozen features of training images, each made once for as long as the store holds it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..cache.feature_store import FeatureStore
from ..cache.keys import view_key
from ..contracts.data import Sample
from ..contracts.head import Reads
from ..data.loader import Batch, View
from ..experiment.schema import AugmentationTable
from ..model.image_tower import FIXED_BATCH, ImageSide, Parts, Untouched, untouched_parts


def kept_as(reads: Reads, levels: bool = True) -> dict[str, str]:
    """What is kept of an image by the name of its part, under names that say how it was read."""
    plain = repr(replace(reads, class_token="none", windows=()))
    kept = {"levels": f"levels of {plain}"} if levels else {}
    if reads.class_token != "none":
        kept["class"] = "class" if reads.class_token == "normed" else "raw class"
    return kept | {f"window{side}": f"window {side}" for side in reads.windows}


@dataclass(frozen=True)
class CachedFeatures:
    """What the untouched backbone says of training images, each made once for as long as the store holds it.

    `contents` has the checksum of each image's file. Features are put into the store as they were computed, so what
    comes out is bit for bit what went in.
    """

    side: ImageSide
    store: FeatureStore
    contents: Mapping[Path, str]
    table: AugmentationTable
    image_of: Callable[[Sample, View], Float[Tensor, "3 S S"]]
    """Decodes an image that a batch lacks."""
    fixed: int = FIXED_BATCH
    """Images that go through the backbone at once, on which the last bits depend."""

    def key(self, sample: Sample, view: View, what: str) -> str:
        """The store's key of a view."""
        what += f", {self.fixed} at once" if self.fixed < FIXED_BATCH else ""
        strength = (self.table.geometry, self.table.rotation, self.table.translation) if view else ()
        return view_key(self.contents[sample.image], (what, *strength, *view))

    def holds(self, reads: Reads, sample: Sample, view: View) -> bool:
        """Whether all that is read of a view is there."""
        return all(self.store.get(self.key(sample, view, what)) is not None for what in kept_as(reads).values())

    def of(self, batch: Batch) -> "CachedBatch":
        """The features of a batch, on the device of its images."""
        return CachedBatch(self.side, batch.images, self, batch, fixed=self.fixed)


@dataclass(frozen=True)
class CachedBatch(Untouched):
    """Features of one batch: what the store lacks is computed, of the images that it lacks."""

    cache: CachedFeatures
    batch: Batch

    def _parts(self, reads: Reads, levels: bool) -> Parts:
        """Each part of all images, on the CPU first where the store holds it."""
        kept, places = kept_as(reads, levels), range(len(self.batch.samples))
        held = {part: [self.cache.store.get(self._key(what, place)) for place in places] for part, what in kept.items()}
        lacking = [place for place in places if any(rows[place] is None for rows in held.values())]
        if lacking:
            made = untouched_parts(self.side, self._images(lacking), reads, levels, fixed=self.fixed)
            for part, rows in held.items():
                self._store(kept[part], lacking, made[part])
                for place, one in zip(lacking, made[part], strict=True):
                    rows[place] = one
        return {part: self._stacked(rows) for part, rows in held.items()}

    def _stacked(self, rows: list[Tensor | None]) -> Tensor:
        found = [one for one in rows if one is not None]
        device = self.batch.labels.device
        if len({one.device for one in found}) > 1:
            found = [one.to(device) for one in found]
        return torch.stack(found).to(device, non_blocking=True)

    def _images(self, places: list[int]) -> Float[Tensor, "b 3 S S"]:
        if self.images.shape[1]:
            return self.images if len(places) == len(self.images) else self.images[places]
        # They were in the store when the epoch began, and another run has removed them since.
        pairs = [(self.batch.samples[place], self.batch.views[place]) for place in places]
        return torch.stack([self.cache.image_of(*pair) for pair in pairs]).to(self.images.device)

    def _store(self, what: str, places: list[int], made: Tensor) -> None:
        for place, one in zip(places, made, strict=True):
            self.cache.store.put(self._key(what, place), one)

    def _key(self, what: str, place: int) -> str:
        return self.cache.key(self.batch.samples[place], self.batch.views[place], what)
