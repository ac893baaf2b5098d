"""Batches of training and test images, the same for any number of worker processes."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..contracts.backbone import Backbone
from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..distributed.ranks import ALONE, Ranks
from ..experiment.schema import AugmentationTable
from ..files.system import unsignalled
from .augmentation import jitter_color, move
from .decode import IGNORED, resized
from .decoded import Decoded, read_mask, read_picture

_VIEWS = 2**31
"""Sets the streams of a finite set of views apart from those of an epoch: no loop has this number."""


@dataclass(frozen=True)
class Pixels:
    """How pictures become tensors: side, the backbone's image statistics, and the pictures kept for the next epoch."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    decoded: Decoded = field(default_factory=Decoded, compare=False, repr=False)

    @classmethod
    def of(cls, backbone: Backbone) -> "Pixels":
        """Return what a backbone is given."""
        return cls(backbone.image_size, backbone.image_mean, backbone.image_std)


View = tuple[int, ...]
"""The numbers that the random draws of one view of an image come from; empty for an image as it is."""


@dataclass
class Batch:
    """Images, masks (zero for normal ones), labels, and where each came from.

    `views` are the images' views; empty where colours are changed too, which makes every image a new one. Images that
    nobody asked for have no channel. Of a training batch that several ranks share, `whole` counts all images.
    `ignored` are the pixels that metrics and losses leave out, None for none; their masks are zero.
    """

    images: Float[Tensor, "B C S S"]
    masks: Float[Tensor, "B 1 S S"]
    labels: Int[Tensor, " B"]
    samples: tuple[Sample, ...]
    _: KW_ONLY
    views: tuple[View, ...] = ()
    whole: int = 0
    ignored: Bool[Tensor, "B 1 S S"] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class name of each image."""
        return tuple(sample.class_name for sample in self.samples)

    def to(self, device: torch.device) -> "Batch":
        """The batch on `device`; a device that copies from pinned memory is not waited for."""
        return self._each(lambda part: part.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """The batch in pinned memory; the data loader calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        images, masks, labels = (change(part) for part in (self.images, self.masks, self.labels))
        ignored = None if self.ignored is None else change(self.ignored)
        return replace(self, images=images, masks=masks, labels=labels, ignored=ignored)


Augment = Literal["none", "geometry", "geometry_and_color"]
Item = tuple[Tensor, Tensor, Sample, View]
Decodable = Item | UserError
"""A fault is handed over like an item: raised in a worker process it would arrive as the text of a traceback."""


@dataclass(frozen=True)
class _Items(Dataset[Decodable]):
    """Decodes one sample; the random stream of an image depends on `key` and its place, not on who decodes it."""

    samples: tuple[Sample, ...]
    pixels: Pixels
    _: KW_ONLY
    augment: Augment = "none"
    table: AugmentationTable | None = None
    key: tuple[int, ...] = ()
    """Seed, loop, phase and epoch."""
    images: bool = True

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Decodable:
        sample, view = self.samples[index], self.view(index)
        try:
            return (*self.drawn(sample, view or (*self.key, index)), sample, view)
        except UserError as fault:
            return fault

    def view(self, index: int) -> View:
        """The view of a sample: one of a finite set where the table has such, and then each in turn."""
        if self.table is None or self.augment == "none" or (self.augment == "geometry" and not self.table.geometry):
            return ()
        if self.augment == "geometry" and self.table.views:
            seed, *_, epoch = self.key
            return (seed, _VIEWS, (epoch + index) % self.table.views, index)
        return (*self.key, index)

    def drawn(self, sample: Sample, stream: View) -> tuple[Float[Tensor, "C S S"], Float[Tensor, "1 S S"]]:
        """Image and mask with the augmentation that a stream of random numbers draws."""
        random = np.random.default_rng(stream)
        image, mask = self._picture(sample, random)
        if self.table and self.augment != "none":
            image, mask = move(image, mask, self.table, random)
        return image, mask

    def _picture(self, sample: Sample, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        size = self.pixels.size
        if not self.images:
            return torch.empty(0, size, size), torch.from_numpy(read_mask(sample, None, size)).float()[None]
        if self.table and self.augment == "geometry_and_color":
            picture = read_picture(sample)
            mask = read_mask(sample, picture.size, size)
            values = np.asarray(resized(jitter_color(picture, self.table, random), size))
        else:
            values, mask = self.pixels.decoded.read(sample, size)
        return self._normalised(values), torch.from_numpy(mask).float()[None]

    def _normalised(self, values: np.ndarray) -> Float[Tensor, "3 S S"]:
        mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (self.pixels.mean, self.pixels.std))
        scaled = np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
        scaled /= 255
        scaled -= mean
        scaled /= std
        return torch.from_numpy(scaled)


def _collate(decoded: list[Decodable]) -> Batch | UserError:
    items = []
    for item in decoded:
        if isinstance(item, UserError):
            return item
        items.append(item)
    images, masks, samples, views = zip(*items, strict=True)
    labels, marks = torch.tensor([sample.label for sample in samples]), torch.stack(masks)
    ignored = marks == IGNORED if any(sample.ignore is not None for sample in samples) else None
    marks = marks if ignored is None else marks.masked_fill(ignored, 0)
    return Batch(torch.stack(images), marks, labels, samples, views=views, ignored=ignored)


def _batches(items: _Items, places: list[list[int]], workers: int) -> Iterator[Batch]:
    """A batch for each list of places among the items."""
    # The loader draws from its generator, and a run's dropout must not depend on how many loaders there have been.
    generator, pin = torch.Generator(), torch.cuda.is_available()
    loader = DataLoader(
        items, batch_sampler=places, num_workers=workers, collate_fn=_collate, pin_memory=pin, generator=generator
    )
    batches = None
    try:
        with unsignalled() if workers else nullcontext():
            batches = iter(loader)
        for batch in batches:
            if isinstance(batch, UserError):
                raise batch
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        problem = "a process that decodes images has died, perhaps for want of memory"
        raise UserError(problem, where="workers", fix="set it lower; 0 decodes in the main process") from error
    finally:
        # Left to the iterator's `__del__`, a worker that has died would be reported again, and to nobody.
        with suppress(Exception):
            getattr(batches, "_shutdown_workers", lambda: None)()
            for worker in getattr(batches, "_workers", ()):
                worker.kill()


def test_batches(samples: tuple[Sample, ...], pixels: Pixels, batch_size: int, workers: int = 0) -> Iterator[Batch]:
    """Samples in order, without augmentation. Raises `UserError` for a file that cannot be read any more."""
    return _batches(_Items(samples, pixels), _cut(list(range(len(samples))), batch_size), workers)


def _cut(order: list[int], batch_size: int) -> list[list[int]]:
    return [order[first : first + batch_size] for first in range(0, len(order), batch_size)]


@dataclass(frozen=True)
class TrainBatches:
    """Shuffled, augmented batches of one phase; `key` (seed, loop, phase) makes them repeatable.

    Of `ranks`, each has its share of every batch; one whose share of a small batch is empty has its first image.
    """

    samples: tuple[Sample, ...]
    pixels: Pixels
    table: AugmentationTable
    _: KW_ONLY
    augment: Augment
    batch_size: int
    key: tuple[int, ...]
    workers: int = 0
    ranks: Ranks = ALONE

    @property
    def steps(self) -> int:
        """Steps of one epoch; the last batch may be smaller."""
        return -(-len(self.samples) // self.batch_size)

    def epoch(self, number: int, held: Callable[[Sample, View], bool] | None = None, skip: int = 0) -> Iterator[Batch]:
        """Every sample once, among all ranks, in the order of this epoch. Raises `UserError` as `test_batches` does.

        Images are not decoded where `held` says of every view that what is wanted of it is there. The first `skip`
        batches are left out, and the others are as they would have been.
        """
        order = np.random.default_rng((*self.key, number)).permutation(len(self.samples)).tolist()
        items, whole = self._items(number), _cut(order, self.batch_size)[skip:]
        own = [list(self.ranks.own(places)) or places[:1] for places in whole]
        if held is not None and all(held(self.samples[at], items.view(at)) for places in own for at in places):
            items = replace(items, images=False)
        for places, batch in zip(whole, _batches(items, own, self.workers), strict=True):
            yield replace(batch, whole=len(places))

    def image(self, sample: Sample, view: View) -> Float[Tensor, "3 S S"]:
        """One image in a view that a batch has named."""
        return self._items(1).drawn(sample, view)[0]

    @property
    def views_come_again(self) -> bool:
        """Whether an epoch shows views that an earlier one has shown."""
        return self._items(1).view(0) == self._items(1 + max(1, self.table.views)).view(0)

    def _items(self, epoch: int) -> _Items:
        key = (*self.key, epoch)
        return _Items(self.samples, self.pixels, augment=self.augment, table=self.table, key=key)
