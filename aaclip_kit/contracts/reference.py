"""The reference contract: what normal images of a class say: a memory, filled once, that answers with a map."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from jaxtyping import Float
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from .backbone import Backbone
from .head import ImageTokens, Reads, Scores

Bank = dict[str, Tensor]
"""What is kept of the normal images of one class: tensors by name, which a file holds as they are."""


@dataclass(frozen=True)
class Answer:
    """How far images are from the normal ones: by patch, and one number each; 0 is none, larger is farther.

    `parts` are grids of any number that the two are made of, by name, for whoever looks into a method.
    """

    grid: Float[Tensor, "B G G"]
    detection: Float[Tensor, " B"]
    parts: dict[str, Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class NormalScores:
    """What the head alone says of the normal images of a class: mean and standard deviation of grid and image score.

    Those of the grid are over all patches of all the images.
    """

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False)

    grid_mean: float
    grid_deviation: Annotated[float, Field(ge=0)]
    image_mean: float
    image_deviation: Annotated[float, Field(ge=0)]

    @classmethod
    def of(cls, grid: Float[Tensor, "B G G"], image: Float[Tensor, " B"]) -> "NormalScores":
        """Summarise the scores of the normal images, all together."""
        (mean, deviation), (image_mean, image_deviation) = map(_summary, (grid, image))
        return cls(grid_mean=mean, grid_deviation=deviation, image_mean=image_mean, image_deviation=image_deviation)


def _summary(values: Tensor) -> tuple[float, float]:
    return float(values.double().mean()), float(values.double().std(correction=0))


@dataclass(frozen=True, kw_only=True)
class ReferenceSetting:
    """What a reference's factory is told: the backbone, and the levels that the experiment reads."""

    backbone: Backbone
    levels: tuple[int, ...]


class Reference(nn.Module, ABC):
    """A memory of normal images: filled once a class, asked for each image, and combined with what the head says.

    It reads the untouched backbone at levels of its own, so that a bank holds whatever is trained. It trains nothing
    and has no parameters. Everything that it computes is a function of the images, not of their order, and an image's
    answer one of that image and the bank.
    """

    reads: Reads
    levels: tuple[int, ...]

    bank_depends_on: Mapping[str, str | int | float | None] = MappingProxyType({})
    """Options that a bank depends on, beside what is read: a bank is used with the same values alone."""

    shown: tuple[float, float] | None = None
    """Map values of the darkest and the brightest colour of a picture; None: the head's, whose scale it keeps."""

    @abstractmethod
    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Bank:
        """Return the bank of these normal images of one class and of those in `bank`, which stays as it is.

        The images come one by one or in batches, always at least one; a bank that was filled in parts is the one that
        was filled at once. Raises `UserError` for images that no bank can be made of.
        """

    @staticmethod
    def rank(numbers: Tensor) -> bytes:
        """Return what to sort images by, so that the order in which they come does not matter: a digest of numbers."""
        return hashlib.sha256(numbers.detach().float().cpu().contiguous().numpy().tobytes()).digest()

    @abstractmethod
    def answer(self, bank: Bank, tokens: ImageTokens) -> Answer:
        """Return how far images are from those of the bank, in float32."""

    def left_out(self, images: Sequence[ImageTokens]) -> Iterator[tuple[Bank, Answer] | None]:
        """Yield for each of some normal images a bank of all the others, and how far it is from them.

        There are two at least, each a batch of one, or of its parts, which are left out together. A memory that
        measures the distance of two images once may do better than fill a bank for each; what it yields may then hold
        only as much of a bank as `combine` reads, and between images it may yield None, wherever the work may be ended.
        Raises `UserError` as `fill`.
        """
        for place, image in enumerate(images):
            bank = self.fill([*images[:place], *images[place + 1 :]])
            yield bank, self.answer(bank, image)

    @abstractmethod
    def combine(self, scores: Scores, answer: Answer, *, bank: Bank, normal: NormalScores, smooth: bool) -> Scores:
        """Return the map and the image score that result: of the head's `scores` and the memory's, or of it alone.

        `normal` is what the head says of the bank's own images; without `smooth` nothing is blurred.
        """
