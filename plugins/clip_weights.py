"""Weights of a CLIP: reading a state dict, whether it fits the model, and putting it in quietly."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from open_clip.model import resize_pos_embed
from torch import Tensor, nn

from aaclip_kit import UserError, read_weights

_UNUSED = {"logit_scale", "logit_bias", "attn_mask", "input_resolution", "context_length", "vocab_size"}
"""Entries of CLIP checkpoints that no walk through the towers needs."""

_WRAPPERS = re.compile(r"^(?:(?:module|_orig_mod)\.)+")
"""What DataParallel, DistributedDataParallel and `torch.compile` put before a name."""

_POSITIONS = "visual.positional_embedding"
_SHOWN = 4

Resize = Literal["antialiased", "bicubic", "bilinear"]
"""How positions are brought to another grid: bicubic with antialiasing, as open_clip does, or without, or bilinear."""


def clip_weights(file: Path) -> dict[str, Tensor]:
    """Weights by CLIP's state-dict keys.

    Raises `UserError` for a damaged file, one that holds more than weights, or numbers that are no weights.
    """
    content = read_weights(file)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise UserError("holds no weights by name", where=str(file), fix="give a CLIP state dict")
    named = {_WRAPPERS.sub("", str(key)): value for key, value in content.items()}
    if len(named) < len(content):
        raise UserError("holds a tensor twice, as it is and wrapped", where=str(file), fix="give it once")
    weights = {key: value for key, value in named.items() if key not in _UNUSED and isinstance(value, Tensor)}
    for key, value in weights.items():
        if not (value.is_floating_point() and value.layout == torch.strided and value.device.type == "cpu"):
            problem = f"{key} is no tensor of weights: it is {value.dtype}, {value.layout}, on {value.device}"
            raise UserError(problem, where=str(file), fix="give weights in 16 or 32 bits")
        if not torch.isfinite(value).all():
            fix = "fetch the file again, or give other weights"
            raise UserError(f"{key} holds numbers that are not finite", where=str(file), fix=fix)
    return weights


def load_weights(model: nn.Module, file: Path, resize: Resize = "antialiased") -> None:
    """Copy a weights file into an open_clip model, image positions resized to its grid.

    Raises `UserError` where names or shapes differ, and then copies nothing.
    """
    weights = clip_weights(file)
    misfits: list[str] = []
    if _POSITIONS in weights:
        # A grid that is not square, or no grid at all.
        try:
            weights[_POSITIONS] = resized_positions(weights[_POSITIONS], model, resize)
        except (RuntimeError, ValueError, TypeError):
            misfits = [f"{_POSITIONS} {list(weights[_POSITIONS].shape)} is no square grid"]
    if misfits := misfits or _misfits(model, weights):
        more = f", and {len(misfits) - _SHOWN} more" if len(misfits) > _SHOWN else ""
        problem = f"does not fit the model: {'; '.join(misfits[:_SHOWN])}{more}"
        fix = "set backbone.model to the model that the file was made for, or give another file"
        raise UserError(problem, where=str(file), fix=fix)
    model.load_state_dict(weights, strict=False)


def resized_positions(positions: Float[Tensor, "old Dv"], model: nn.Module, resize: Resize) -> Float[Tensor, "new Dv"]:
    """Positions of the class token and of a square grid, at the grid of an open_clip model, in float32."""
    weights, filtered = {_POSITIONS: positions.float()}, resize == "antialiased"
    with quiet():
        resize_pos_embed(weights, model, "bilinear" if resize == "bilinear" else "bicubic", filtered)
    return weights[_POSITIONS]


def _misfits(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    wanted = {key: list(value.shape) for key, value in model.state_dict().items() if key not in _UNUSED}
    given = {key: list(value.shape) for key, value in weights.items()}
    missing = [f"{key} is missing" for key in wanted if key not in given]
    unknown = [f"{key} is unknown" for key in given if key not in wanted]
    shared = [(key, given[key], shape) for key, shape in wanted.items() if key in given]
    shapes = [f"{key} is {own} where {shape} is needed" for key, own, shape in shared if own != shape]
    return shapes + missing + unknown


@contextmanager
def quiet() -> Iterator[None]:
    """Drop warnings and log records below errors, and undo the root handler that open_clip's first record installs."""
    root = logging.getLogger()
    handlers, disabled = list(root.handlers), root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
