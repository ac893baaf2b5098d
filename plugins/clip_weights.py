"""Weights of a CLIP: what of a file is needed, and its positions at another grid."""

from pathlib import Path
from typing import Literal

from jaxtyping import Float
from open_clip.model import resize_pos_embed
from torch import Tensor, nn

from .named_weights import check_numbers, misfit, named_weights, put_into, quiet

_UNUSED = {"logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size"}
"""Entries of CLIP checkpoints that no walk through the towers needs."""

_POSITIONS = "visual.positional_embedding"

Resize = Literal["antialiased", "bicubic", "bilinear"]
"""How positions are brought to another grid: bicubic with antialiasing, as open_clip does, or without, or bilinear."""


def load_weights(model: nn.Module, file: Path, resize: Resize = "antialiased") -> None:
    """Copy a weights file into an open_clip model, image positions resized to its grid.

    Raises `UserError` for a damaged file, one that holds more than weights, numbers that are no weights, and where
    names or shapes differ; then nothing is copied.
    """
    weights = {key: value for key, value in named_weights(file, "a CLIP state dict").items() if key not in _UNUSED}
    check_numbers(weights, file)
    if _POSITIONS in weights:
        # A grid that is not square, or no grid at all.
        try:
            weights[_POSITIONS] = resized_positions(weights[_POSITIONS], model, resize)
        except (RuntimeError, ValueError, TypeError):
            raise misfit(file, [f"{_POSITIONS} {list(weights[_POSITIONS].shape)} is no square grid"]) from None
    put_into(model, weights, file, _UNUSED)


def resized_positions(positions: Float[Tensor, "old Dv"], model: nn.Module, resize: Resize) -> Float[Tensor, "new Dv"]:
    """Positions of the class token and of a square grid, at the grid of an open_clip model, in float32."""
    weights, filtered = {_POSITIONS: positions.float()}, resize == "antialiased"
    with quiet():
        resize_pos_embed(weights, model, "bilinear" if resize == "bilinear" else "bicubic", filtered)
    return weights[_POSITIONS]
