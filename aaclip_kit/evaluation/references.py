"""What is remembered of the normal images of classes: banks, filled once, and what the head says of the same images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter

import torch

from ..contracts.backbone import Backbone
from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError, in_short
from ..contracts.head import ImageTokens, Reads, Scores
from ..contracts.reference import Bank, NormalScores, Reference
from ..data.loader import Pixels, test_batches
from ..distributed.compute_device import ComputeDevice
from ..model.anomaly_model import AnomalyModel
from ..model.windows import window_patches


@dataclass(frozen=True)
class Memory:
    """What is remembered of normal images of one class, and what the head says of them."""

    bank: Bank
    normal: NormalScores


def saying_nothing(scores: Scores, normal: NormalScores) -> Scores:
    """The scores of a head that tells no image from another: what it says of normal ones on average.

    Put together with a memory's answer they leave the memory alone, whatever the memory's kind.
    """
    grid, maps = (torch.full_like(of, normal.grid_mean) for of in (scores.grid, scores.maps))
    return Scores(grid, maps, torch.full_like(scores.detection, normal.image_mean))


@dataclass(frozen=True)
class References:
    """The bank of each class, the SHA-256 of the images in it, and what the head says of them after a loop.

    `pixels` are the SHA-256 of what these images are decoded to; a bank of an earlier version lacks them.
    """

    banks: Mapping[str, Bank]
    images: Mapping[str, tuple[str, ...]]
    normal: Mapping[str, NormalScores] = field(default_factory=dict)
    pixels: tuple[str, ...] = ()

    def of_class(self, name: str, device: torch.device) -> Memory:
        """What is remembered of a class, on a device."""
        return Memory({part: one.to(device) for part, one in self.banks[name].items()}, self.normal[name])

    @property
    def digests(self) -> frozenset[str]:
        """SHA-256 of every image that is remembered, as a file and as pixels."""
        return frozenset((*(digest for of in self.images.values() for digest in of), *self.pixels))

    def check_known(self, classes: tuple[str, ...], where: str) -> None:
        """Raise `UserError` for a class that nothing is remembered of."""
        if lacking := [name for name in classes if name not in self.banks]:
            known = in_short(sorted(self.banks))
            fix = f"name the class by one of: {known}; or remember images of it in another run, in [data.reference]"
            raise UserError(f"nothing is remembered of class {in_short(lacking)}", where=where, fix=fix)


def remember(model: AnomalyModel, device: ComputeDevice, pixels: Pixels, data: DataSet, workers: int) -> References:
    """Fill the bank of each class of a data set of normal images, read one by one. Raises `UserError`."""
    banks, images = {}, {}
    for name in data.classes:
        samples = tuple(sample for sample in data.samples if sample.class_name == name)
        banks[name] = filled(model, device, pixels, samples, workers)
        images[name] = tuple(sorted(sample.checksums[0] for sample in samples))
    return References(banks, images)


@torch.no_grad()
def filled(
    model: AnomalyModel,
    device: ComputeDevice,
    pixels: Pixels,
    samples: tuple[Sample, ...],
    workers: int,
    bank: Bank | None = None,
) -> Bank:
    """Fill a bank with normal images of one class, read one by one, beside those in `bank`. Raises `UserError`."""
    reference = model.reference
    assert reference is not None
    try:
        return reference.fill(_read(model, reference, device, pixels, samples, workers), bank)
    except UserError as fault:
        where = fault.where or f"data.reference, class '{samples[0].class_name}'"
        raise UserError(fault.problem, where=where, fix=fault.fix) from fault.__cause__


def _read(
    model: AnomalyModel,
    reference: Reference,
    device: ComputeDevice,
    pixels: Pixels,
    samples: tuple[Sample, ...],
    workers: int,
) -> Iterator[ImageTokens]:
    # One by one, so that what is remembered of an image is a function of it alone, to the last bit.
    for batch in test_batches(samples, pixels, 1, workers):
        with device.autocast():
            tokens = model.image.untouched(batch.images.to(device.device), reference.reads, reference.levels)
        yield tokens


@torch.no_grad()
def cost(reference: Reference, backbone: Backbone, images: int) -> tuple[int, float]:
    """Measure what a bank of so many images takes, in bytes, and how many seconds an image's answer.

    On a CPU, with tokens of noise in the shapes that are read; nothing is read and no block runs.
    """
    noise = torch.Generator().manual_seed(0)
    bank = reference.fill(_noise(reference, backbone, noise) for _ in range(images))
    tokens = _noise(reference, backbone, noise)
    reference.answer(bank, tokens)
    started = perf_counter()
    reference.answer(bank, tokens)
    return sum(one.nbytes for one in bank.values()), perf_counter() - started


def _noise(reference: Reference, backbone: Backbone, noise: torch.Generator) -> ImageTokens:
    """Tokens of one image."""
    reads, patches = reference.reads, backbone.grid**2
    width = backbone.embedding_width if reads.projected else backbone.vision.width
    levels = {level: torch.randn(1, patches, width, generator=noise) for level in reference.levels}
    joint = backbone.embedding_width
    whole = None if reads.class_token == "none" else torch.randn(1, joint, generator=noise)
    windows = {side: torch.randn(1, count, joint, generator=noise) for side, count in _windows(reads, backbone).items()}
    return ImageTokens(levels, whole, windows or None)


def _windows(reads: Reads, backbone: Backbone) -> dict[int, int]:
    return {side: len(window_patches(backbone.grid, side)) for side in reads.windows}
