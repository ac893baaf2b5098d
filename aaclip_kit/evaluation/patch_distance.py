"""The rule `patch_distance`: how unlike the other patches of its own image each patch is.

It looks at frozen features, learns nothing, and sees no other image.
"""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from ..contracts.backbone import Backbone
from ..contracts.data import DataSet
from ..data.loader import Pixels, test_batches
from ..distributed.out_of_memory import SIDE, explaining_out_of_memory
from ..kernels.exporting import is_exporting
from ..kernels.maps import upsampled
from ..model.plugin_faults import PluginFault, naming_batch
from .class_metrics import Mask
from .evaluator import known_masks, masks_of

NEAREST: Final = 0.3
"""Part of the other patches, the most alike ones, that a patch is compared with."""

BLUR: Final = 1 / 28
"""Sigma of the map's Gaussian, of the image's side."""

LARGEST: Final = 0.01
"""Part of the map, its largest values, whose mean is the image's score."""

_COMPARED: Final = 2**22
"""Pairs of patches that are compared at once: a bound on the memory for many images, or for many patches."""


class RuleBatch(NamedTuple):
    """Maps, masks (None: unknown), image scores and labels of some images of one class."""

    maps: Float32[np.ndarray, "B S S"]
    masks: list[Mask | None]
    image_scores: Float32[np.ndarray, " B"]
    labels: Int[np.ndarray, " B"]


@dataclass(frozen=True)
class PatchDistance:
    """The rule on one backbone's features, in float32 whatever the precision of the run; `device` is the backbone's."""

    backbone: Backbone
    device: torch.device
    pixels: Pixels
    _: KW_ONLY
    batch_size: int
    workers: int = 0

    def batches(self, data: DataSet, name: str) -> Iterator[RuleBatch]:
        """Look at the images of one class in order. Raises `UserError` for a file that cannot be read any more."""
        samples = tuple(sample for sample in data.samples if sample.class_name == name)
        less = f"lower evaluation.batch_size, or use a smaller {SIDE}"
        for batch in test_batches(samples, self.pixels, self.batch_size, self.workers) if samples else ():
            shortage = explaining_out_of_memory(f"comparing the patches of {len(batch.samples)} images", less)
            with naming_batch("the rule patch_distance", batch.samples), shortage:
                maps = self.maps(batch.images.to(self.device))
            labels = np.array([sample.label for sample in batch.samples])
            yield RuleBatch(maps, known_masks(batch.samples, masks_of(batch)), image_scores(maps), labels)

    @torch.no_grad()
    def maps(self, images: Float[Tensor, "B 3 S S"]) -> Float32[np.ndarray, "B S S"]:
        """The map of each image: the patches' distances, bilinear to its size (corners aligned), blurred."""
        distances = patch_distances(self.backbone.rule_features(images))
        if not torch.isfinite(distances).all():
            raise PluginFault("the backbone's rule features are not finite", where="backbone")
        side, size = round(distances.shape[1] ** 0.5), images.shape[-1]
        grid = distances.unflatten(1, (1, side, side))
        sigma = (0.0, BLUR * size, BLUR * size)
        return gaussian_filter(upsampled(grid, size)[:, 0].cpu().numpy(), sigma, mode="reflect")


def patch_distances(features: Float[Tensor, "B N C"]) -> Float32[Tensor, "B N"]:
    """Measure how unlike the others of its image each patch is: 1 - the mean cosine of the most alike 30 % of them.

    Their number is rounded, and at least 1. An image of one patch has the distance 0. All in float32, under autocast
    too (docs/reference/metrics.md, rules that know nothing).
    """
    with torch.autocast(features.device.type, enabled=False):
        units = functional.normalize(features.float(), dim=-1)
        images, count, _ = units.shape
        if count == 1:
            return units.new_zeros(images, 1)
        nearest, rows = max(1, round(NEAREST * (count - 1))), max(1, _COMPARED // (images * count))
        if is_exporting():  # for any number of images
            rows = count
        parts = [
            _nearest(part @ units.transpose(1, 2), first, nearest)
            for first, part in zip(range(0, count, rows), units.split(rows, dim=1), strict=True)
        ]
        return 1 - torch.cat(parts, dim=1)


def _nearest(similarity: Float32[Tensor, "B n N"], first: int, nearest: int) -> Float32[Tensor, "B n"]:
    """Mean of the largest similarities of patches to others; the patches' own numbers begin at `first`."""
    if is_exporting():  # ONNX has no writing into a diagonal
        similarity = similarity.masked_fill(torch.eye(similarity.shape[1], dtype=torch.bool), -2.0)
    else:
        similarity.diagonal(first, dim1=1, dim2=2).fill_(-2.0)  # itself, below every cosine
    return similarity.topk(nearest, dim=2, sorted=False).values.mean(dim=2)


def image_scores(maps: Float32[np.ndarray, "B S S"]) -> Float32[np.ndarray, " B"]:
    """Mean of the largest 1 % of each map's values, of one at least."""
    values = maps.reshape(len(maps), -1)
    count = max(1, round(LARGEST * values.shape[1]))
    return np.partition(values, -count, axis=1)[:, -count:].mean(axis=1)
