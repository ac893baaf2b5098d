"""Exact search for the nearest vectors by cosine, in blocks of bounded memory; a few vectors that stand for many."""

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from .exporting import is_exporting

_PAIRS: Final = {"cpu": 2**21, "cuda": 2**26}
"""Pairs that are compared at once: on a CPU they stay in its caches, on a device they fill it."""

_ROWS: Final = 4096
"""Vectors of the memory in a block, at most."""


def nearest(queries: Float[Tensor, "Q D"], stored: Float[Tensor, "M D"], neighbours: int = 1) -> Float[Tensor, " Q"]:
    """Measure the mean cosine distance, 1 - cosine, of each query to its nearest stored vectors, of 0 to 2.

    Every pair is compared, in float32, under autocast too; the vectors need no unit length, and one of length 0 is at
    distance 1 from all. Where fewer vectors are stored than `neighbours`, the mean is over all of them.
    """
    with torch.autocast(queries.device.type, enabled=False):
        rows, kept = unit_rows(queries), min(neighbours, len(stored))
        columns = unit_rows(stored).T
        width = min(_ROWS, len(stored))
        height = max(1, _PAIRS.get(queries.device.type, _PAIRS["cpu"]) // width)
        # How many queries an exported program will be given is not known.
        parts = [rows] if is_exporting() else rows.split(height)
        return torch.cat([_distance(part, columns, width, kept) for part in parts])


def _distance(
    queries: Float[Tensor, "q D"], stored: Float[Tensor, "D M"], width: int, kept: int
) -> Float[Tensor, " q"]:
    best = queries.new_full((len(queries), kept), -2.0)  # below every cosine
    for part in stored.split(width, dim=1):
        cosines = queries @ part
        if kept == 1:
            best = torch.maximum(best, cosines.amax(dim=1, keepdim=True))
        else:
            best = torch.cat([best, cosines], dim=1).topk(kept, dim=1).values
    return (1 - best.clamp(max=1.0)).mean(dim=1)


def unit_rows(vectors: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
    """Return the vectors in float32 with length 1; one of length 0 stays as it is."""
    return functional.normalize(vectors.float(), dim=-1)


def spread_out(vectors: Float[Tensor, "n D"], count: int, seed: int = 0) -> Int[Tensor, " m"]:
    """Choose `count` of the vectors so that each other one is near a chosen one: greedily the farthest point.

    The first is the one that reaches farthest into a direction drawn by `seed`, so that vectors decide and not their
    places; of equal ones the first is taken. Distance is by cosine. Returns rows, ascending.
    """
    if count >= len(vectors):
        return torch.arange(len(vectors), device=vectors.device)
    with torch.autocast(vectors.device.type, enabled=False):
        rows = unit_rows(vectors)
        direction = torch.randn(rows.shape[1], generator=torch.Generator().manual_seed(seed)).to(rows.device)
        cosines = rows @ rows.T
        chosen, near = [(rows @ direction).argmax()], cosines.new_full((len(rows),), -2.0)
        for _ in range(count - 1):
            near = torch.maximum(near, cosines[chosen[-1]])
            near[chosen[-1]] = 2.0  # above every cosine: of vectors that are all alike each is taken once
            chosen.append(near.argmin())
        return torch.stack(chosen).sort().values
