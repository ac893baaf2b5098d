"""Formulas that heads share: unit length, maps at the image size, softmax of two channels there, Gaussian blurs."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def unit(features: Float[Tensor, "*items D"]) -> Float[Tensor, "*items D"]:
    """Divide by the norm over the last axis."""
    return features / torch.linalg.vector_norm(features, dim=-1, keepdim=True)


def upsampled(grid: Float[Tensor, "B C G G"], size: int, align_corners: bool = True) -> Float[Tensor, "B C S S"]:
    """Bilinear to the image size."""
    return functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=align_corners)


def softmax_maps(logits: Float[Tensor, "B 2 G G"], size: int, align_corners: bool = True) -> Float[Tensor, "B 2 S S"]:
    """Softmax over (normal, abnormal) at every pixel, of logits that are bilinear to the image size, in float32."""
    normal, abnormal = logits.split(1, dim=1)
    # Of two channels the softmax is the sigmoid of their difference, and interpolation is linear: half of the work.
    # As two matrix products, whose gradients are such too: eight times as fast as the gradient of `upsampled` on a CPU.
    difference = abnormal - normal
    each = torch.eye(difference.shape[-1], dtype=difference.dtype, device=difference.device)
    rows = functional.interpolate(each[None], size=size, mode="linear", align_corners=align_corners)[0]
    with torch.autocast(difference.device.type, enabled=False):
        difference = rows.T @ (difference @ rows)
    return torch.cat([torch.sigmoid(-difference), torch.sigmoid(difference)], dim=1)


def gaussian_blur(grid: Float[Tensor, "B C G G"], side: int, sigma: float) -> Float[Tensor, "B C G G"]:
    """Separable Gaussian of `side` x `side` with a reflected border; a grid smaller than that repeats its edge."""
    offsets = torch.arange(side, device=grid.device, dtype=grid.dtype) - side // 2
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels, reach = grid.shape[1], side // 2
    padded = functional.pad(grid, (reach,) * 4, mode="reflect" if grid.shape[-1] > reach else "replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(rows, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)


def gaussian_filter(maps: Float[Tensor, "B S S"], sigma: float) -> Float[Tensor, "B S S"]:
    """Gaussian of `sigma` pixels, cut at 4 sigma, over a border that is mirrored with its edge, as scipy's is."""
    size, reach = maps.shape[-1], int(4 * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1, device=maps.device)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    places = (torch.arange(size, device=maps.device)[:, None] + offsets) % (2 * size)
    places = places.minimum(2 * size - 1 - places)
    # As two matrix products: a border that is longer than the map needs no case of its own.
    rows = weights.new_zeros(size, size).scatter_add(1, places, (weights / weights.sum()).expand(size, -1))
    with torch.autocast(maps.device.type, enabled=False):
        return rows.to(maps.dtype) @ maps @ rows.to(maps.dtype).T
