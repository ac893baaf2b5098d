"""Weights of a vision transformer: putting a file into it, in timm's layout or as it was published; its positions."""

from contextlib import redirect_stdout
from io import StringIO
from math import isqrt
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float
from timm.models import eva, vision_transformer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ..named_weights import check_numbers, differences, misfit, named_weights, put_into, quiet

_POSITIONS, _PATCHES = "pos_embed", "patch_embed.proj.weight"
_UNUSED: Final = ("head.", "fc_norm.", "mask_token")
"""What begins the names of weights that classify, or that pretraining alone needed."""

_OFFSET: Final = 0.1
"""What the published DINOv2 adds to the grid's side, so that rounding cannot cost it a row."""


def load_weights(vit: Any, file: Path) -> None:
    """Copy a weights file into a model of timm's, whose input size becomes that of the file.

    Raises `UserError` for a damaged file, one that holds more than weights, numbers that are no weights, and where
    names or shapes differ; then no weight is copied.
    """
    weights = named_weights(file, "a state dict of timm's, or of DINOv2 as it was published")
    own, given = vit.patch_embed.proj.weight, weights.get(_PATCHES)
    # timm would resample patches of another size.
    if given is not None and given.shape != own.shape:
        raise misfit(file, [f"{_PATCHES} is {list(given.shape)} where {list(own.shape)} is needed"])
    if _POSITIONS in weights:
        _take_size(vit, weights[_POSITIONS])
    weights = _in_timms_layout(vit, weights, file)
    check_numbers(weights, file)
    put_into(vit, weights, file)


def _take_size(vit: Any, positions: Tensor) -> None:
    """Give the model the grid of a file's positions, whose rows for other tokens are too few to count as a side."""
    side = isqrt(positions.shape[1]) if positions.dim() == 3 else 0
    if vit.pos_embed is not None and side and side != vit.patch_embed.grid_size[0]:
        with quiet():
            vit.set_input_size(img_size=(side * vit.patch_embed.patch_size[0],) * 2)


def _in_timms_layout(vit: Any, weights: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """timm's own reading of published layouts. Raises `UserError` where it fails, as for a file of another model."""
    convert = (eva if isinstance(vit, eva.Eva) else vision_transformer).checkpoint_filter_fn
    try:
        with quiet(), redirect_stdout(StringIO()):
            converted: dict[str, Tensor] = convert(dict(weights), vit)
    except (LookupError, RuntimeError, ValueError, TypeError, AttributeError):
        raise misfit(file, differences(vit, weights)) from None
    return {key: value for key, value in converted.items() if not key.startswith(_UNUSED)}


def resize_positions(vit: Any, side: int, published: bool) -> None:
    """Bring the model to images of `side` pixels: its positional embedding timm's way, or as published for DINOv2."""
    positions = vit.pos_embed
    with quiet():
        vit.set_input_size(img_size=(side, side))
    if published:
        before = 0 if vit.no_embed_class else vit.num_prefix_tokens
        vit.pos_embed = nn.Parameter(published_positions(positions.detach(), before, vit.patch_embed.grid_size[0]))


def published_positions(
    positions: Float[Tensor, "1 tokens Dv"], before: int, side: int
) -> Float[Tensor, "1 resized Dv"]:
    """Positions at another grid as DINOv2 was published, those of `before` tokens kept: bicubic, without antialias.

    The sampling follows the scale (side + 0.1) / old side and not the quotient of the sides.
    """
    kept, patches = positions[:, :before], positions[:, before:]
    old = isqrt(patches.shape[1])
    if side == old:
        return positions
    grid = patches.unflatten(1, (old, old)).permute(0, 3, 1, 2)
    scale = (side + _OFFSET) / old
    resized = interpolate(grid, scale_factor=(scale, scale), mode="bicubic", align_corners=False)
    return torch.cat([kept, resized.flatten(2).transpose(1, 2)], dim=1)
