"""What the recipe calls each weight: CLIP's state-dict keys, and those of published checkpoints."""

from __future__ import annotations

TEXT_ADAPTERS, VISION_ADAPTERS = 3, 6
"""Blocks with an adapter in each tower, from the first on."""

ATTENTION_PARAMETERS = tuple(f"{layer}_proj.{kind}" for layer in ("q", "k", "v", "out") for kind in ("weight", "bias"))


def published_names(levels: tuple[int, ...]) -> dict[str, str]:
    """The published name of every trained parameter, by the name that it has in our checkpoints."""
    names = {
        f"sites.stages.text_adapter.{block}.linear.weight": f"text_adapter.{block}.fc.0.weight"
        for block in range(TEXT_ADAPTERS)
    }
    names["heads.text.linear.weight"] = f"text_adapter.{TEXT_ADAPTERS}.fc.0.weight"
    for block in range(VISION_ADAPTERS):
        ours = f"sites.stages.vision_adapter.{block}.linear.weight"
        names[ours] = f"image_adapter.layer_adapters.{block}.fc.0.weight"
    for number, level in enumerate(levels):
        names[f"heads.segmentation.{level}.linear.weight"] = f"image_adapter.seg_proj.{number}.fc.weight"
    names["heads.detection.linear.weight"] = "image_adapter.det_proj.fc.weight"
    for parameter in ATTENTION_PARAMETERS:
        names[f"sites.stages.text_to_image.0.{parameter}"] = f"text_cross_attn.{parameter}"
        names[f"sites.stages.image_to_text.0.{parameter}"] = f"image_cross_attn.{parameter}"
    return names


def clip_name(ours: str) -> str:
    """The recipe's name of one of the backbone's parameters."""
    return f"clip/{ours.removeprefix('clip.')}"
