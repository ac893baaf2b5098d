"""What the checks of a backbone share: the model, prompts and images, and the walk through a tower."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contracts.backbone import Backbone, Surgery
from ..check import Found
from ..subject import Subject

PROMPTS = ("a cloth.", "a photo of a damaged metal nut.")
NEAR = 1e-4


def build(subject: Subject, seed: int = 0) -> Backbone:
    """The backbone, frozen and in evaluation mode, as the engine holds it."""
    torch.manual_seed(seed)
    backbone = subject.build()
    if not isinstance(backbone, Backbone):
        raise Found(f"the factory gave {type(backbone).__name__}, which is no Backbone")
    return backbone.requires_grad_(False).eval()


def images(backbone: Backbone, count: int = 3, seed: int = 1) -> Tensor:
    """Random images as normalised ones are: `[B, 3, S, S]`."""
    size = backbone.image_size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def walk_vision(backbone: Backbone, pictures: Tensor, surgery: Surgery = "none") -> Tensor:
    """Normed vision tokens, surgery in the blocks from `surgery_start` on."""
    tokens = backbone.embed_image(pictures)
    for block in range(backbone.vision.depth):
        mode: Surgery = surgery if block >= backbone.surgery_start else "none"
        tokens = backbone.vision_block(block, tokens, mode)
    return backbone.finish_vision(tokens)


@torch.no_grad()
def walk_text(backbone: Backbone, numbers: Tensor) -> Tensor:
    """Text tokens after the last block."""
    tokens = backbone.embed_text(numbers)
    for block in range(backbone.text.depth):
        tokens = backbone.text_block(block, tokens)
    return tokens


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a part of the largest value; infinite where something is not finite."""
    difference = float((one.float() - other.float()).abs().max() / other.float().abs().max().clamp(min=1e-6))
    return difference if difference == difference else float("inf")
