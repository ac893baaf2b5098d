"""The most abnormal patches of an image, grouped by k-means, as one feature. k-means is scikit-learn's, in torch."""

from collections.abc import Iterable
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from aaclip_kit import unit

Random = np.random.RandomState | None
ROUNDS: Final = 300
TOLERANCE: Final = 1e-4
"""k-means ends where the squares of its centres' moves add up to no more than this part of the mean variance."""


class Fused(NamedTuple):
    """Patches by number, the most abnormal first, the cluster of each, and the feature that they come to."""

    selected: Int[Tensor, "B K"]
    labels: Int[Tensor, "B K"]
    feature: Float[Tensor, "B E"]


def fuse(
    levels: Float[Tensor, "B J N E"],
    abnormal: Float[Tensor, "B N"],
    patches: int,
    clusters: int,
    randoms: Iterable[Random] = repeat(None),
) -> Fused:
    """Fuse the `patches` of largest probability `abnormal`, or all where there are fewer.

    Patches are grouped by their features at all levels side by side. The feature, of unit length, is the mean of the
    clusters' means over patches and levels. `randoms` has for each image what `k_means` begins with.
    """
    selected = abnormal.argsort(dim=1, descending=True, stable=True)[:, :patches]
    chosen = levels.gather(2, selected[:, None, :, None].expand(-1, levels.shape[1], -1, levels.shape[-1]))
    points = chosen.detach().transpose(1, 2).flatten(2).float()
    labels = torch.stack(list(map(k_means, points, repeat(clusters), randoms)))
    sizes = functional.one_hot(labels, clusters).sum(dim=1)
    # Each patch weighs one part of its cluster; what all clusters share falls away in the norm.
    weights = 1 / sizes.gather(1, labels).to(chosen.dtype)
    return Fused(selected, labels, unit((chosen.mean(dim=1) * weights[..., None]).sum(dim=1)))


def k_means(points: Float[Tensor, "K D"], clusters: int, random: Random = None) -> Int[Tensor, " K"]:
    """Return each point's cluster: Lloyd's rounds from the first points, or from greedy k-means++ with `random`."""
    still = TOLERANCE * points.var(dim=0, correction=0).mean()
    points = points - points.mean(dim=0)
    first = slice(clusters) if random is None else _spread(points, clusters, random)
    centres, labels = points[first], points.new_full((len(points),), -1, dtype=torch.long)
    for _ in range(ROUNDS):
        before, labels = labels, _nearest(points, centres)
        moved = _means(points, centres, labels)
        shift, centres = (moved - centres).square().sum(), moved
        if torch.equal(labels, before):
            return labels
        if shift <= still:
            break
    return _nearest(points, centres)


def _nearest(points: Float[Tensor, "K D"], centres: Float[Tensor, "C D"]) -> Int[Tensor, " K"]:
    return (centres.square().sum(dim=1) - 2 * points @ centres.T).argmin(dim=1)


def _means(points: Tensor, centres: Float[Tensor, "C D"], labels: Int[Tensor, " K"]) -> Float[Tensor, "C D"]:
    """The mean of each cluster; an empty one takes a point that lies farthest from its own centre."""
    members = functional.one_hot(labels, len(centres)).to(points.dtype)
    if empty := [place for place, size in enumerate(members.sum(dim=0).tolist()) if not size]:
        far = (points - centres[labels]).square().sum(dim=1).topk(len(empty)).indices
        members[far] = functional.one_hot(torch.tensor(empty, device=far.device), len(centres)).to(members)
    return members.T @ points / members.sum(dim=0).clamp(min=1)[:, None]


def _spread(points: Float[Tensor, "K D"], count: int, random: np.random.RandomState) -> list[int]:
    """Points that lie apart, one by one: of several drawn by squared distance, the one that leaves the smallest sum.

    Greedy k-means++ (Arthur and Vassilvitskii 2007), with scikit-learn's draws and roundings: two points that are each
    other's nearest leave sums that differ by rounding alone.
    """
    exact, each = points.double().cpu().numpy(), np.ones((len(points), 1), np.float32)
    chosen: list[int] = []
    left = np.full(len(exact), np.inf, np.float32)
    for place in range(count):
        if place:
            drawn = np.searchsorted(left.cumsum(), random.uniform(size=2 + int(np.log(count))) * (left @ each))
        else:
            drawn = random.choice(len(exact), size=1, p=np.full(len(exact), 1 / len(exact)))
        drawn = drawn.clip(max=len(exact) - 1)
        lefts = np.minimum(left, np.square(exact[drawn, None] - exact).sum(axis=2).astype(np.float32))
        best = int((lefts @ each).argmin())
        left, chosen = lefts[best], [*chosen, int(drawn[best])]
    return chosen
