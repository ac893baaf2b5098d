"""Anomaly maps and image scores: similarity of patches to text, blur, upsampling (method: sections 6 and 8)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..contracts.data import Domain

TEMPERATURE = 100.0


def similarity_grid(patches: Float[Tensor, "B N E"], text: Float[Tensor, "B E 2"]) -> Float[Tensor, "B 2 G G"]:
    """100 times the similarity of each patch to (normal, abnormal), in float32 even under autocast.

    The factor of 100 would turn the rounding of a half-precision product into half a logit.
    """
    side = round(patches.shape[1] ** 0.5)
    with torch.autocast(patches.device.type, enabled=False):
        similarity = TEMPERATURE * patches.float() @ text.float()
    return similarity.transpose(1, 2).unflatten(2, (side, side))


def upsampled(grid: Float[Tensor, "B C G G"], size: int) -> Float[Tensor, "B C S S"]:
    """Bilinear to the image size, corners aligned."""
    return functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=True)


def probability_map(
    patches: Float[Tensor, "B N E"], text: Float[Tensor, "B E 2"], size: int
) -> Float[Tensor, "B 2 S S"]:
    """Softmax over (normal, abnormal) at every pixel."""
    normal, abnormal = similarity_grid(patches, text).split(1, dim=1)
    # Of two channels the softmax is the sigmoid of their difference, and interpolation is linear: half of the work.
    # As two matrix products, whose gradients are such too: eight times as fast as the gradient of `upsampled` on a CPU.
    difference = abnormal - normal
    each = torch.eye(difference.shape[-1], dtype=difference.dtype, device=difference.device)
    rows = functional.interpolate(each[None], size=size, mode="linear", align_corners=True)[0]
    with torch.autocast(difference.device.type, enabled=False):
        difference = rows.T @ (difference @ rows)
    return torch.cat([torch.sigmoid(-difference), torch.sigmoid(difference)], dim=1)


BLUR: dict[Domain, tuple[int, float]] = {"industrial": (7, 1.0), "medical": (9, 1.5)}
"""Side and sigma of the Gaussian, on the patch grid."""


@dataclass(frozen=True)
class Scores:
    """Raw scores of a batch: the map on the patch grid and at the image size; the detection feature's score."""

    grid: Float[Tensor, "B G G"]
    maps: Float[Tensor, "B S S"]
    detection: Float[Tensor, " B"]

    @property
    def map_peak(self) -> Float[Tensor, " B"]:
        """Largest value of each map."""
        return self.maps.flatten(1).amax(dim=1)


def score(
    levels: dict[int, Float[Tensor, "B N E"]],
    detection: Float[Tensor, "B E"],
    text: Float[Tensor, "B E 2"],
    size: int,
    domain: Domain,
    blur: bool = True,
) -> Scores:
    """Sum of the levels' grids, it bilinear to the image size, and (detection . abnormal + 1) / 2."""
    # Bilinear interpolation is linear: of the sum it is the sum of each level's, at a fraction of the work.
    grid = torch.stack([level_grid(patches, text, domain, blur) for patches in levels.values()]).sum(dim=0)
    cosine = (detection.float() * text[..., 1].float()).sum(dim=-1)
    return Scores(grid, upsampled(grid[:, None], size)[:, 0], (cosine + 1) / 2)


def map_probability(values: Float[Tensor, "*n"], levels: int) -> Float[Tensor, "*n"]:
    """What the mean over the levels says as the softmax probability of "abnormal": the map's scale made absolute."""
    return torch.sigmoid(2 * values / levels - 1)


def level_grid(
    patches: Float[Tensor, "B N E"], text: Float[Tensor, "B E 2"], domain: Domain, blur: bool = True
) -> Float[Tensor, "B G G"]:
    """((100 cos_abnormal) + 1 - (100 cos_normal)) / 2 of each patch, blurred."""
    normal, abnormal = similarity_grid(patches, text).unbind(dim=1)
    grid = (abnormal + 1 - normal) / 2
    return gaussian_blur(grid[:, None], *BLUR[domain])[:, 0] if blur else grid


def gaussian_blur(grid: Float[Tensor, "B C G G"], side: int, sigma: float) -> Float[Tensor, "B C G G"]:
    """Separable Gaussian of `side` x `side` with a reflected border; a grid smaller than that repeats its edge."""
    offsets = torch.arange(side, device=grid.device, dtype=grid.dtype) - side // 2
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels, reach = grid.shape[1], side // 2
    padded = functional.pad(grid, (reach,) * 4, mode="reflect" if grid.shape[-1] > reach else "replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
