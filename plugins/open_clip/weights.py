"""Reading a weights file and checking that it fits, before anything is copied."""

from __future__ import annotations

from pathlib import Path

import torch
from open_clip.model import resize_pos_embed
from torch import Tensor, nn

from aaclip_kit import UserError, read_weights

from .quiet import quiet

_UNUSED = {"logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size"}
"""Entries of CLIP checkpoints that no walk through the towers needs."""

_POSITIONS = "visual.positional_embedding"
_SHOWN = 4


def clip_weights(file: Path) -> dict[str, Tensor]:
    """Weights by CLIP's state-dict keys.

    Raises `UserError` for a damaged file, one that holds more than weights, or numbers that are no weights.
    """
    content = read_weights(file)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise UserError("holds no weights by name", where=str(file), fix="give a CLIP state dict")
    named = {str(key).removeprefix("module."): value for key, value in content.items()}
    weights = {key: value for key, value in named.items() if key not in _UNUSED and isinstance(value, Tensor)}
    for key, value in weights.items():
        if not (value.is_floating_point() and value.layout == torch.strided and value.device.type == "cpu"):
            problem = f"{key} is no tensor of weights: it is {value.dtype}, {value.layout}, on {value.device}"
            raise UserError(problem, where=str(file), fix="give weights in 16 or 32 bits")
        if not torch.isfinite(value).all():
            fix = "fetch the file again, or give other weights"
            raise UserError(f"{key} holds numbers that are not finite", where=str(file), fix=fix)
    return weights


def load_weights(model: nn.Module, file: Path) -> None:
    """Copy a weights file into an open_clip model, image positions resized to its grid.

    Raises `UserError` where names or shapes differ, and then copies nothing.
    """
    weights = clip_weights(file)
    misfits: list[str] = []
    if _POSITIONS in weights:
        weights[_POSITIONS] = weights[_POSITIONS].float()
        # A grid that is not square, or no grid at all.
        try:
            with quiet():
                resize_pos_embed(weights, model)
        except (RuntimeError, ValueError, TypeError):
            misfits = [f"{_POSITIONS} {list(weights[_POSITIONS].shape)} is no square grid"]
    misfits = misfits or _misfits(model, weights)
    if misfits:
        more = f", and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        raise UserError(
            f"does not fit the model: {'; '.join(misfits[:_SHOWN])}{more}",
            where=str(file),
            fix="set backbone.model to the model that the file was made for, or give another file",
        )
    model.load_state_dict(weights, strict=False)


def _misfits(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    wanted = {key: list(value.shape) for key, value in model.state_dict().items() if key not in _UNUSED}
    given = {key: list(value.shape) for key, value in weights.items()}
    missing = [f"{key} is missing" for key in wanted if key not in given]
    unknown = [f"{key} is unknown" for key in given if key not in wanted]
    shapes = [
        f"{key} is {given[key]} where {wanted[key]} is needed"
        for key in wanted
        if key in given and given[key] != wanted[key]
    ]
    return shapes + missing + unknown
