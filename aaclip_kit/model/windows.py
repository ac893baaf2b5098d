"""Class embeddings of square windows: the class token and a window's patches, alone through every block."""

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contracts.backbone import Backbone
from ..contracts.errors import UserError

_TOKENS: Final = 8192
"""Tokens that go through the blocks at once: large matrix products, and a bound on the memory."""


def window_patches(grid: int, side: int) -> Int[Tensor, "W n"]:
    """Return the patches of each window at stride 1, row by row of its upper left corner. Raises `UserError`."""
    if not 1 <= side <= grid:
        problem = f"a window of {side} x {side} patches does not fit a grid of {grid} x {grid}"
        raise UserError(problem, where="head", fix=f"choose windows of 1 to {grid} patches, or a larger image size")
    places = torch.arange(grid * grid).reshape(grid, grid)
    return places.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def window_embeddings(backbone: Backbone, embedded: Float[Tensor, "B V Dv"], side: int) -> Float[Tensor, "B W E"]:
    """Return the class embedding of every window, from the input of vision block 0.

    Tokens are gathered, so that all windows have the same number, and many windows of all images share a batch.
    """
    patches = window_patches(backbone.grid, side).to(embedded.device)
    chosen = torch.cat([patches.new_zeros(len(patches), 1), patches + 1], dim=1)
    images, count = embedded.shape[0], len(chosen)
    at_once = max(1, _TOKENS // chosen.shape[1])
    made = []
    for first in range(0, images * count, at_once):
        places = torch.arange(first, min(first + at_once, images * count), device=embedded.device)
        tokens = embedded[(places // count)[:, None], chosen[places % count]]
        for block in range(backbone.vision.depth):
            tokens = backbone.vision_block(block, tokens)
        made.append(backbone.project_image(backbone.finish_vision(tokens[:, :1])[:, 0]))
    return torch.cat(made).unflatten(0, (images, count))
