"""Class embeddings of square windows: a window's patches with the tokens before all patches, through every block."""

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contracts.backbone import Backbone
from ..contracts.errors import UserError
from ..kernels.exporting import is_exporting

_TOKENS: Final = {"cpu": 2048, "cuda": 32768}
"""Tokens that go through the blocks at once, about: matrix products with many rows, and a bound on the memory. On a CPU
what is between two products stays in its caches."""


def window_patches(grid: int, side: int) -> Int[Tensor, "W n"]:
    """Return the patches of each window at stride 1, row by row of its upper left corner. Raises `UserError`."""
    if not 1 <= side <= grid:
        problem = f"a window of {side} x {side} patches does not fit a grid of {grid} x {grid}"
        raise UserError(problem, where="head", fix=f"choose windows of 1 to {grid} patches, or a larger image size")
    places = torch.arange(grid * grid).reshape(grid, grid)
    return places.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)


def window_embeddings(backbone: Backbone, embedded: Float[Tensor, "B V Dv"], side: int) -> Float[Tensor, "B W E"]:
    """Return the class embedding of every window, from the input of vision block 0.

    Tokens are gathered, so that all windows have the same number, and many windows share a batch: the same ones of
    every image, so that an image's numbers do not depend on the others to the last bit.
    """
    patches, first = window_patches(backbone.grid, side).to(embedded.device), backbone.prefix_tokens
    prefix = torch.arange(first, device=embedded.device).expand(len(patches), -1)
    chosen = torch.cat([prefix, patches + first], dim=1)
    at_once = _TOKENS.get(embedded.device.type, _TOKENS["cpu"])
    # A program for any number of images runs them in one part.
    parts = 1 if is_exporting() else min(len(chosen), -(-len(embedded) * chosen.numel() // at_once))
    return torch.cat([_embedded(backbone, embedded[:, part]) for part in chosen.tensor_split(parts)], dim=1)


def _embedded(backbone: Backbone, windows: Float[Tensor, "B w n Dv"]) -> Float[Tensor, "B w E"]:
    tokens = windows.flatten(0, 1)
    for block in range(backbone.vision.depth):
        tokens = backbone.vision_block(block, tokens)
    finished = backbone.finish_vision(tokens[:, :1])[:, 0]
    return backbone.project_image(finished).unflatten(0, windows.shape[:2])
