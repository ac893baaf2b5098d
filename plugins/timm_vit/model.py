"""Building a model of timm's: whether it can be walked block by block, its weights, its image size."""

from typing import Any, Final

import timm
import torch
from timm.layers.attention import Attention, AttentionRope
from timm.layers.patch_embed import PatchEmbed
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from aaclip_kit import UserError

from ..named_weights import quiet
from ..patches import check_side
from . import TimmOptions
from .source import check_name, find_weights
from .weights import load_weights, resize_positions

_RANDOM_SEED: Final = 0
_PLAIN: Final[dict[type, tuple[type, tuple[type, ...]]]] = {
    VisionTransformer: (Block, (Attention,)),
    Eva: (EvaBlock, (EvaAttention, AttentionRope)),
}
"""Models that can be walked, each with its blocks and their attention: DINOv2 is a VisionTransformer, DINOv3 an Eva."""


def build(options: TimmOptions) -> Any:
    """The model with its weights, at the image size that is asked for.

    Random weights ("none") are the same in every process. Raises `UserError` for a model, a size or weights that cannot
    be.
    """
    check_name(options.model)
    vit = _built(options.model)
    side = options.image_size or vit.patch_embed.img_size[0]
    _check_choices(options, vit)
    check_side(side, vit.patch_embed.patch_size[0])
    # Last, since weights may have to be fetched.
    if (file := find_weights(options)) is not None:
        load_weights(vit, file)
    resize_positions(vit, side, published=options.position_resize == "dinov2")
    return vit


def _built(model: str) -> Any:
    """The model with random weights, at its own image size. Raises `UserError` for one that cannot be walked."""
    # Building draws random weights; the run's own random stream must not depend on the backbone.
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(_RANDOM_SEED)
            vit = timm.create_model(model, num_classes=0)
    except (TypeError, ValueError, AttributeError, LookupError, AssertionError, RuntimeError, ImportError) as error:
        raise UserError(f"timm cannot build this model: {error}", where="backbone.model") from None
    if odd := _unlike(vit):
        problem = f"{model} cannot be walked block by block: {odd}"
        fix = "choose a plain vision transformer with a class token, such as those of timm.list_models('*dinov[23]*')"
        raise UserError(problem, where="backbone.model", fix=fix)
    return vit


def _unlike(vit: nn.Module) -> str | None:
    """In what a model is unlike the plain vision transformers that are walked here; None where it is one."""
    if type(vit) not in _PLAIN:
        return f"it is a {type(vit).__name__}, where VisionTransformer (DINOv2) and Eva (DINOv3) are supported"
    kind, attentions = _PLAIN[type(vit)]
    blocks: Any = vit.blocks
    oddities = {
        "it has no class token": vit.cls_token is None,
        "its patches come from a network of their own": type(vit.patch_embed) is not PatchEmbed,
        "it has no norm after its last block": isinstance(vit.norm, nn.Identity),
        "each of its blocks turns positions in its own way": bool(getattr(vit, "rope_mixed", False)),
        "its blocks are of another kind": any(type(block) is not kind for block in blocks),
        "its attention is of another kind": any(_is_odd(block, attentions) for block in blocks),
    }
    return next((said for said, found in oddities.items() if found), None)


def _is_odd(block: nn.Module, kinds: tuple[type, ...]) -> bool:
    """Whether its attention is of no known kind, gated, or has fewer keys than queries."""
    attention = getattr(block, "attn", None)
    gated = getattr(attention, "gate", None) is not None
    return type(attention) not in kinds or gated or getattr(attention, "num_kv_groups", 1) != 1


def _check_choices(options: TimmOptions, vit: Any) -> None:
    """Raise `UserError` for more blocks of surgery than there are, and a way of resizing what the model has not."""
    depth = len(vit.blocks)
    if options.surgery_blocks > depth:
        problem = f"{options.surgery_blocks} blocks of surgery in a tower of {depth}"
        raise UserError(problem, where="backbone.surgery_blocks", fix=f"choose 0 to {depth}")
    if options.position_resize != "timm" and vit.pos_embed is None:
        problem = f"{options.model} has no positional embedding that could be resized"
        raise UserError(problem, where="backbone.position_resize", fix="leave it out")
