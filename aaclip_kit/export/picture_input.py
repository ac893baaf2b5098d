"""Pictures as a graph takes them: Pillow's bicubic resize and the normalisation, as operations on tensors."""

from typing import Final

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ..data.loader import Pixels

_BITS: Final = 22
"""Pillow's coefficients are whole numbers of 2^-22, and each of its two passes rounds to a whole grey value."""

_SHARPNESS: Final = -0.5
"""The parameter a of Pillow's bicubic filter."""


class PictureInput(nn.Module):
    """Pictures of any size, `uint8 [B, H, W, 3]` in RGB, to what the backbone is given, `float [B, 3, S, S]`.

    A picture of S x S stays as it is. Others are resized as `data.decode.resized` does with Pillow 13, to the last bit:
    columns before rows where a picture loses more than twice as many pixels in height as in width, since it rounds
    between the two passes. Then scaled and normalised as a batch of the loader is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, pixels: Pixels) -> None:
        super().__init__()
        self.side = pixels.size
        for name, numbers in (("mean", pixels.mean), ("std", pixels.std)):
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32)[:, None, None])

    def forward(self, pictures: UInt8[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 S S"]:
        """Resize and normalise."""
        _, height, width, _ = pictures.shape
        values = pictures.permute(0, 3, 1, 2).double()
        along, down = bicubic_weights(width, self.side).T, bicubic_weights(height, self.side)
        # Both orders, since a graph for any size has no branch.
        rows_first = _rounded(down @ _rounded(values @ along))
        columns_first = _rounded(_rounded(down @ values) @ along)
        lost, lost_across = (torch.full((), 1.0, dtype=torch.float64) * of - self.side for of in (height, width))
        values = torch.where((lost > 0) & (lost > 2 * lost_across), columns_first, rows_first)
        return (values.float() / 255 - self.mean) / self.std


def bicubic_weights(length: int, side: int) -> Float[Tensor, "S L"]:
    """Return the whole numbers that Pillow weighs `length` values with for each of `side`, in float64.

    The filter reaches over two values, or over two steps where the picture becomes smaller.
    """
    step = torch.full((), 1.0, dtype=torch.float64) * length / side
    spread = step.clamp(min=1.0)
    centres = (torch.arange(side, dtype=torch.float64)[:, None] + 0.5) * step
    places = torch.arange(length, dtype=torch.float64)[None]
    first = (centres - 2 * spread + 0.5).floor().clamp(min=0.0)
    last = (centres + 2 * spread + 0.5).floor()
    weights = _bicubic((places - centres + 0.5) * (1 / spread)) * ((places >= first) & (places < last)).double()
    scaled = weights * (1 / weights.sum(dim=1, keepdim=True)) * 2**_BITS
    return (scaled.abs() + 0.5).floor() * scaled.sign()


def _bicubic(offsets: Float[Tensor, "S L"]) -> Float[Tensor, "S L"]:
    x, a = offsets.abs(), _SHARPNESS
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _rounded(sums: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    return ((sums + 2 ** (_BITS - 1)) / 2**_BITS).floor().clamp(0, 255)
