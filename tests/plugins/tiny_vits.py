"""Tiny models that timm builds by name: DINOv2 without and with registers, and DINOv3; and weights for them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from timm.models import generate_default_cfgs, register_model
from timm.models.eva import Eva, _create_eva
from timm.models.vision_transformer import ParallelThingsBlock, VisionTransformer, _create_vision_transformer
from torch import Tensor, nn

SIDES = {"tiny_dinov2": 70, "tiny_dinov2_reg": 70, "tiny_dinov3": 40, "tiny_dinov3_bias": 40}
"""Each model with its own image size, five patches."""

_SIZES: dict[str, Any] = {"embed_dim": 48, "depth": 4, "num_heads": 3, "init_values": 1e-5}

default_cfgs = generate_default_cfgs(
    {
        f"{name}.drawn": {
            **{"input_size": (3, side, side), "fixed_input_size": True, "num_classes": 0},
            **{"hf_hub_id": "timm/" if name == "tiny_dinov2" else None},
            **{"first_conv": "patch_embed.proj", "classifier": "head"},
            **{"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)},
        }
        for name, side in {**SIDES, "tiny_parallel": 70}.items()
    }
)


@register_model
def tiny_dinov2(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    return _create_vision_transformer("tiny_dinov2", pretrained, patch_size=14, **_SIZES, **kwargs)


@register_model
def tiny_dinov2_reg(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    more: dict[str, Any] = {"reg_tokens": 4, "no_embed_class": True}
    return _create_vision_transformer("tiny_dinov2_reg", pretrained, patch_size=14, **_SIZES, **more, **kwargs)


@register_model
def tiny_parallel(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    more: dict[str, Any] = {"patch_size": 14, "block_fn": ParallelThingsBlock}
    return _create_vision_transformer("tiny_parallel", pretrained, **_SIZES, **more, **kwargs)


@register_model
def tiny_dinov3(pretrained: bool = False, **kwargs: Any) -> Eva:
    return _dinov3("tiny_dinov3", pretrained, qkv_bias=False, **kwargs)


@register_model
def tiny_dinov3_bias(pretrained: bool = False, **kwargs: Any) -> Eva:
    return _dinov3("tiny_dinov3_bias", pretrained, qkv_bias=True, **kwargs)


def _dinov3(name: str, pretrained: bool, **kwargs: Any) -> Eva:
    """As timm makes those of DINOv3."""
    positions: dict[str, Any] = {"rope_type": "dinov3", "rope_temperature": 100, "rope_rotate_half": True}
    more: dict[str, Any] = {"num_reg_tokens": 4, "use_fc_norm": False, "norm_layer": partial(nn.LayerNorm, eps=1e-5)}
    more |= {"dynamic_img_size": True, "use_rot_pos_emb": True, "use_abs_pos_emb": False}
    return _create_eva(name, pretrained, patch_size=8, **_SIZES, **positions, **more, **kwargs)


def drawn(name: str, **sizes: Any) -> Any:
    """The model with weights unlike those it starts with, whose layer scale would hide what a block does."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = timm.create_model(name, num_classes=0, **sizes).eval().requires_grad_(False)
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.3)
    return model


def weights_file(name: str, folder: Path) -> Path:
    """Those weights in timm's own layout."""
    file = folder / f"{name}.safetensors"
    save_file(drawn(name).state_dict(), file)
    return file


def published_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a DINOv2 by the names, and with the positions, that it was published with."""
    published = {**weights, "mask_token": torch.zeros(1, 48)}
    if "reg_token" in weights:
        published["register_tokens"] = published.pop("reg_token")
        position = torch.full((1, 1, 48), 0.125)
        published["pos_embed"] = torch.cat([position, weights["pos_embed"]], dim=1)
        published["cls_token"] = weights["cls_token"] - position
    return published
