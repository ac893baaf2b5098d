"""Distances of patches to the nearest remembered ones, but for the background (docs/guide/methods.md)."""

from collections.abc import Iterable
from typing import Final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d

from aaclip_kit import (
    Answer,
    Bank,
    ImageTokens,
    NormalScores,
    Reads,
    Reference,
    ReferenceSetting,
    Scores,
    gaussian_filter,
    nearest,
    upsampled,
)  # fmt: skip

from . import AnomalyDinoOptions

LARGEST: Final = 0.01
"""Part of the patches, the farthest ones, whose mean distance is the image's score."""

CENTRE: Final = (0.2, 0.8)
"""Part of each side in which the object is looked for."""


class AnomalyDino(Reference):
    """All normed patches of the last block of all images; the head plays no part in what results."""

    reads = Reads()
    shown = (0.0, 0.5)

    def __init__(self, options: AnomalyDinoOptions, setting: ReferenceSetting) -> None:
        super().__init__()
        self.options, self.side = options, setting.backbone.grid
        self.levels = (setting.backbone.vision.depth,)

    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Bank:
        """Keep every patch `[k, N, D]`, images in an order that their numbers decide."""
        kept = [] if bank is None else [*bank["patches"]]
        kept += [image for tokens in images for image in tokens.levels[self.levels[0]].float()]
        return {"patches": torch.stack(sorted(kept, key=self.rank))}

    def answer(self, bank: Bank, tokens: ImageTokens) -> Answer:
        """Cosine distances, 0 in the background; the mean of the farthest 1 %, rounded down, or the largest."""
        patches = tokens.levels[self.levels[0]].float()
        far = nearest(patches.flatten(0, 1), bank["patches"].flatten(0, 1), self.options.neighbours)
        grid = far.reshape(-1, self.side, self.side)
        if self.options.mask == "none":
            return Answer(grid, farthest(grid.flatten(1)))
        object_ = object_mask(patches, self.side, self.options.threshold, in_rows=self.options.mask == "rows")
        grid = grid * object_
        return Answer(grid, farthest(grid.flatten(1)), {"mask": object_})

    def combine(self, scores: Scores, answer: Answer, *, bank: Bank, normal: NormalScores, smooth: bool) -> Scores:
        """The distances themselves, bilinear to the image size and smoothed."""
        maps = upsampled(answer.grid[:, None], scores.maps.shape[-1], align_corners=False)[:, 0]
        if smooth and self.options.sigma:
            maps = gaussian_filter(maps, self.options.sigma)
        return Scores(answer.grid, maps, answer.detection)


def farthest(distances: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """Mean of the largest 1 % of the distances of each image, their number rounded down and at least 1."""
    return distances.topk(max(1, int(LARGEST * distances.shape[1])), dim=1).values.mean(dim=1)


def object_mask(patches: Float[Tensor, "B N D"], side: int, threshold: float, in_rows: bool) -> Bool[Tensor, "B G G"]:
    """Patches of the object: above the threshold in the first principal component of the image's own patches.

    Of its two signs that one counts which has more of the centre above it. The mask is dilated, and closed, by one
    patch, on the grid or along its rows as one line. Of an image without any such patch all are of the object.
    """
    component = first_component(patches).unflatten(1, (side, side))
    low, high = (int(part * side) for part in CENTRE)
    inside = torch.stack([component, -component], dim=1) > threshold
    share = inside[:, :, low:high, low:high].float().mean(dim=(2, 3))
    chosen = torch.where((share[:, 0] >= share[:, 1])[:, None, None], inside[:, 0], inside[:, 1]).float()
    line = chosen.flatten(1)[:, None] if in_rows else chosen[:, None]
    grown = _dilated(_dilated(line))
    closed = (1 - _dilated(1 - grown)).reshape(component.shape) > 0
    return closed | ~closed.flatten(1).any(dim=1)[:, None, None]


def _dilated(mask: Float[Tensor, "B 1 *places"]) -> Float[Tensor, "B 1 *places"]:
    """What lies in a mask or next to it; what is outside the picture counts for nothing."""
    pool = max_pool1d if mask.ndim == 3 else max_pool2d
    return pool(mask, 3, stride=1, padding=1)


def first_component(patches: Float[Tensor, "B N D"]) -> Float[Tensor, "B N"]:
    """First principal component of each image's patches, in float64; its largest absolute value is made positive."""
    centred = (patches - patches.mean(dim=1, keepdim=True)).double()
    direction = torch.linalg.eigh(centred.transpose(1, 2) @ centred).eigenvectors[..., -1:]
    component = (centred @ direction)[..., 0]
    return component * component.gather(1, component.abs().argmax(dim=1, keepdim=True)).sign()
