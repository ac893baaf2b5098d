"""Similarity of patches to the text feature, as maps (method: section 6)."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

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
    rows = _interpolation(difference, size)
    with torch.autocast(difference.device.type, enabled=False):
        difference = rows.T @ (difference @ rows)
    return torch.cat([torch.sigmoid(-difference), torch.sigmoid(difference)], dim=1)


def _interpolation(grid: Float[Tensor, "B 1 G G"], size: int) -> Float[Tensor, "G S"]:
    """What linear interpolation of one axis multiplies with, corners aligned."""
    each = torch.eye(grid.shape[-1], dtype=grid.dtype, device=grid.device)
    return functional.interpolate(each[None], size=size, mode="linear", align_corners=True)[0]
