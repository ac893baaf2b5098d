"""Weights of a CLIP: what of a file is needed, and its positions at another grid."""

from pathlib import Path

from open_clip.model import resize_pos_embed
from torch import nn

from .named_weights import check_numbers, misfit, named_weights, put_into, quiet

_UNUSED = {"logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size"}
"""Entries of CLIP checkpoints that no walk through the towers needs."""

_POSITIONS = "visual.positional_embedding"


def load_weights(model: nn.Module, file: Path) -> None:
    """Copy a weights file into an open_clip model, image positions resized to its grid.

    Raises `UserError` for a damaged file, one that holds more than weights, numbers that are no weights, and where
    names or shapes differ; then nothing is copied.
    """
    weights = {key: value for key, value in named_weights(file, "a CLIP state dict").items() if key not in _UNUSED}
    check_numbers(weights, file)
    if _POSITIONS in weights:
        weights[_POSITIONS] = weights[_POSITIONS].float()
        # A grid that is not square, or no grid at all.
        try:
            with quiet():
                resize_pos_embed(weights, model)
        except (RuntimeError, ValueError, TypeError):
            raise misfit(file, [f"{_POSITIONS} {list(weights[_POSITIONS].shape)} is no square grid"]) from None
    put_into(model, weights, file, _UNUSED)
