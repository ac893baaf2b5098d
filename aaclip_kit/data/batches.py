"""Batches of training and test images, the same for any number of worker processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..experiment.schema import AugmentationTable
from .augment import jitter_color, move
from .pictures import open_picture, read_mask, resized


@dataclass(frozen=True)
class Pixels:
    """How pictures become tensors: side, and the backbone's image statistics."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass
class Batch:
    """Images, masks (zero for normal ones), labels, and where each came from."""

    images: Float[Tensor, "B 3 S S"]
    masks: Float[Tensor, "B 1 S S"]
    labels: Int[Tensor, " B"]
    samples: tuple[Sample, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class name of each image."""
        return tuple(sample.class_name for sample in self.samples)

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`."""
        return Batch(self.images.to(device), self.masks.to(device), self.labels.to(device), self.samples)


Augment = Literal["none", "geometry", "geometry_and_color"]
Item = tuple[Tensor, Tensor, Sample]
Found = Item | UserError
"""A fault is handed over like an item: raised in a worker process it would arrive as the text of a traceback."""


@dataclass(frozen=True)
class _Items(Dataset[Found]):
    """Decodes one sample; the random stream of an image depends on `key` and its place, not on who decodes it."""

    samples: tuple[Sample, ...]
    pixels: Pixels
    augment: Augment = "none"
    table: AugmentationTable | None = None
    key: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Found:
        try:
            return self._item(index)
        except UserError as fault:
            return fault

    def _item(self, index: int) -> Item:
        sample = self.samples[index]
        random = np.random.default_rng([*self.key, index])
        picture = open_picture(sample.image)
        mask = torch.from_numpy(read_mask(sample.mask, picture.size, self.pixels.size)).float()[None]
        if self.table and self.augment == "geometry_and_color":
            picture = jitter_color(picture, self.table, random)
        image = self._normalised(np.asarray(resized(picture, self.pixels.size)))
        if self.table and self.augment != "none":
            image, mask = move(image, mask, self.table, random)
        return image, mask, sample

    def _normalised(self, values: np.ndarray) -> Float[Tensor, "3 S S"]:
        mean, std = (np.array(numbers, np.float32) for numbers in (self.pixels.mean, self.pixels.std))
        scaled = (values.astype(np.float32) / 255 - mean) / std
        return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def _collate(found: list[Found]) -> Batch | UserError:
    items = []
    for item in found:
        if isinstance(item, UserError):
            return item
        items.append(item)
    images, masks, samples = zip(*items, strict=True)
    labels = torch.tensor([sample.label for sample in samples])
    return Batch(torch.stack(images), torch.stack(masks), labels, samples)


def _batches(items: _Items, batch_size: int, workers: int, order: list[int] | None = None) -> Iterator[Batch]:
    loader = DataLoader(items, batch_size, sampler=order, num_workers=workers, collate_fn=_collate)
    for found in loader:
        if isinstance(found, UserError):
            raise found
        yield found


def test_batches(samples: tuple[Sample, ...], pixels: Pixels, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Samples in order, without augmentation. Raises `UserError` for a file that cannot be read any more."""
    return _batches(_Items(samples, pixels), batch_size, workers)


@dataclass(frozen=True)
class TrainBatches:
    """Shuffled, augmented batches of one phase; `key` (seed, loop, phase) makes them repeatable."""

    samples: tuple[Sample, ...]
    pixels: Pixels
    table: AugmentationTable
    augment: Augment
    batch_size: int
    key: tuple[int, ...]
    workers: int = 0

    @property
    def steps(self) -> int:
        """Steps of one epoch; the last batch may be smaller."""
        return -(-len(self.samples) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Every sample once, in the order of this epoch. Raises `UserError` as `test_batches` does."""
        key = (*self.key, number)
        order = np.random.default_rng(key).permutation(len(self.samples)).tolist()
        items = _Items(self.samples, self.pixels, self.augment, self.table, key)
        return _batches(items, self.batch_size, self.workers, order)
