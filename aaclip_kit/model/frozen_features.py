"""Frozen features of training images: what the untouched backbone says of each, to the same last bit always."""

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from .image_tower import ImageFeatures, ImageSide, Levels

FIXED_BATCH: Final = 4
"""Images that go through the untouched backbone at once in training, however many a batch has."""


def frozen_features(image: ImageSide, images: Float[Tensor, "B 3 S S"]) -> ImageFeatures:
    """Return the frozen features of every level, each image's a function of that image alone, to the last bit.

    The last bits of a matrix product depend on how many rows it has, and which images of a batch a store lacks depends
    on what was computed before. V-V attention over the batch mixes its images, which are then taken as they are.
    """
    if image.surgery == "batch":
        return image.frozen(images, image.levels)
    parts = [image.frozen(part, image.levels) for part in _fixed_batches(images)]
    levels = {level: _joined([part.levels[level] for part in parts], len(images)) for level in image.levels}
    return ImageFeatures(levels, _joined([part.detection for part in parts], len(images)))


def frozen_embedding(image: ImageSide, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B E"]:
    """Return the unit class embeddings, with the bits that `frozen_features` gives them."""
    if image.surgery == "batch":
        return image.class_embedding(images)
    return _joined([image.class_embedding(part) for part in _fixed_batches(images)], len(images))


def _fixed_batches(images: Float[Tensor, "B 3 S S"]) -> list[Float[Tensor, "fixed 3 S S"]]:
    """Cut a batch into parts of one size; the last is filled up with its first image."""
    *whole, last = images.split(FIXED_BATCH)
    return [*whole, torch.cat([last, last[:1].expand(FIXED_BATCH - len(last), -1, -1, -1)])]


def _joined(parts: list[Tensor], count: int) -> Tensor:
    return torch.cat(parts)[:count]


@runtime_checkable
class Frozen(Protocol):
    """Frozen features of one batch of images."""

    def levels(self) -> Levels:
        """Patch features of every level, class embedding added."""

    def embedding(self) -> Float[Tensor, "B E"]:
        """Unit class embedding."""


@dataclass(frozen=True)
class Computed:
    """Features of these images, computed when they are asked for."""

    image: ImageSide
    images: Float[Tensor, "B 3 S S"]

    def levels(self) -> Levels:
        """See `Frozen`."""
        return frozen_features(self.image, self.images).levels

    def embedding(self) -> Float[Tensor, "B E"]:
        """See `Frozen`."""
        return frozen_embedding(self.image, self.images)
