"""What several processes tell one another, by torch's process group; for a process alone nothing of it happens.

Every function is called by all ranks, in the same order. Plain data and flags go through the CPUs, which no device has
to wait for; tensors go as the backend of their device has it.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed, nn

from ..contracts.errors import UserError
from .ranks import ALONE, Ranks

Found = TypeVar("Found")


class Lost(UserError):
    """Another rank is gone; where it had a reason, it has told it."""


@contextmanager
def _reaching_all() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        problem = f"the other processes of this run cannot be reached any more ({str(error).splitlines()[0]})"
        raise Lost(problem, where="torchrun", fix="look at what they said, and at the network") from error


def all_gather_object(ranks: Ranks, value: Found) -> list[Found]:
    """What each rank has found, plain data in the order of the ranks: the same list on every rank."""
    if not ranks.is_distributed:
        return [value]
    everyone: list[Any] = [None] * ranks.size
    with _reaching_all():
        distributed.all_gather_object(everyone, value)
    return everyone


def barrier(ranks: Ranks) -> None:
    """Return when every rank has come here."""
    all_gather_object(ranks, None)


def all_reduce(ranks: Ranks, values: Shaped[Tensor, "*n"]) -> Shaped[Tensor, "*n"]:
    """The sum over the ranks; `values` may be written to."""
    if ranks.is_distributed:
        with _reaching_all():
            distributed.all_reduce(values)
    return values


@torch.no_grad()
def broadcast(ranks: Ranks, tensors: Iterable[Tensor]) -> None:
    """Give every rank the values that the first has, in place."""
    if ranks.is_distributed:
        with _reaching_all():
            for tensor in tensors:
                distributed.broadcast(tensor.data, src=0)


@torch.no_grad()
def sum_gradients(ranks: Ranks, parameters: Sequence[nn.Parameter]) -> None:
    """Add up the gradients of all ranks, in place; a parameter that has none on any of them is left without."""
    if not ranks.is_distributed:
        return
    had = all_reduce(ranks, torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32))
    reached = [parameter for parameter, count in zip(parameters, had.tolist(), strict=True) if count]
    for dtype in dict.fromkeys(parameter.dtype for parameter in reached):
        alike = [parameter for parameter in reached if parameter.dtype == dtype]
        parts = [torch.zeros_like(one) if one.grad is None else one.grad for one in alike]
        whole = all_reduce(ranks, torch.cat([part.flatten() for part in parts]))
        for one, part in zip(alike, whole.split([one.numel() for one in alike]), strict=True):
            one.grad = part.view_as(one)


@dataclass(frozen=True)
class BatchShard:
    """This rank's images of a batch that all ranks share.

    A rank whose share is empty still computes one image, so that it takes part; it has no weight.
    """

    ranks: Ranks
    whole: int
    """Images of the whole batch; 0 for a batch that is this rank's alone."""

    @property
    def shared(self) -> bool:
        """Whether other ranks have images of the batch."""
        return self.ranks.is_distributed and self.whole > 0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Images of each rank's share."""
        return tuple(map(len, self.ranks.shares(self.whole)))

    @property
    def weight(self) -> float:
        """This rank's part of the images."""
        return self.sizes[self.ranks.rank] / self.whole if self.shared else 1.0

    def gathered(self, own: Shaped[Tensor, "own *n"]) -> Shaped[Tensor, "whole *n"]:
        """The rows of all ranks, in the order of the batch; a gradient flows back into this rank's own."""
        return _Gathered.apply(own, self.ranks, self.sizes) if self.shared else own


WHOLE_BATCH = BatchShard(ALONE, 0)
"""All of a batch."""


class _Gathered(torch.autograd.Function):
    """Each rank makes the same of the whole, so the gradients of the ranks' own rows add up to that of the whole."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, ranks: Ranks, sizes: tuple[int, ...]) -> Tensor:
        """Pad to the largest share, gather, and leave the padding out."""
        ctx.rows, ctx.start, ctx.length = len(own), sum(sizes[: ranks.rank]), sizes[ranks.rank]
        padded = own.new_zeros(max(sizes), *own.shape[1:])
        padded[: ctx.length] = own[: ctx.length]
        parts = [torch.empty_like(padded) for _ in sizes]
        with _reaching_all():
            distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *of_whole: Float[Tensor, "whole *n"]) -> tuple[Tensor, None, None]:
        """The own rows' gradient; none for a row without weight."""
        (gradient,) = of_whole
        own = gradient.new_zeros(ctx.rows, *gradient.shape[1:])
        own[: ctx.length] = gradient[ctx.start : ctx.start + ctx.length]
        return own, None, None
