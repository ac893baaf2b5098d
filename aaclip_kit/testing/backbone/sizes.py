"""Sizes: what is stated, and what a walk gives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ...contracts.backbone import Backbone, Tower
from ..check import Found
from ..subject import Subject
from .given import PROMPTS, build, images, walk_text, walk_vision

STATED = (
    *("vision", "text", "embedding_width", "image_size", "grid", "context_length"),
    *("image_mean", "image_std", "surgery_start"),
)


def says_its_sizes(subject: Subject) -> None:
    """Every attribute is there and is plain."""
    backbone = build(subject)
    if missing := [name for name in STATED if not hasattr(backbone, name)]:
        raise Found(f"it does not say {', '.join(missing)}")
    for said, wrong in _faults(backbone):
        if wrong:
            raise Found(said)


def _faults(backbone: Backbone) -> Iterator[tuple[str, bool]]:
    for name in ("vision", "text"):
        tower = getattr(backbone, name)
        yield f"{name} is {tower!r}, which is no Tower of sizes above 0", not _is_tower(tower)
    for name in ("embedding_width", "image_size", "grid", "context_length"):
        value = getattr(backbone, name)
        yield f"{name} is {value!r}, which is no size", not (isinstance(value, int) and value > 0)
    for name in ("image_mean", "image_std"):
        values = getattr(backbone, name)
        yield f"{name} is {values!r}, not three finite numbers", not _are_numbers(values)
        yield f"image_std is {values!r}", name == "image_std" and min(values) <= 0
    start, depth = backbone.surgery_start, backbone.vision.depth
    yield (
        f"surgery_start is {start!r} in a tower of {depth} blocks",
        not (isinstance(start, int) and 0 <= start <= depth),
    )


@torch.no_grad()
def walk_gives_those_sizes(subject: Subject) -> None:
    """Walk two images and two prompts."""
    backbone = build(subject)
    vision, text, joint = backbone.vision.width, backbone.text.width, backbone.embedding_width
    tokens = walk_vision(backbone, images(backbone, 2))
    _same("the vision tower", tokens, (2, 1 + backbone.grid**2, vision))
    _same("project_image", backbone.project_image(tokens), (2, 1 + backbone.grid**2, joint))
    numbers = backbone.tokenize(PROMPTS)
    _same("tokenize", numbers, (2, backbone.context_length))
    walked = walk_text(backbone, numbers)
    _same("the text tower", walked, (2, backbone.context_length, text))
    finished = backbone.finish_text(walked, backbone.end_of_text(numbers))
    _same("finish_text", finished, (2, text))
    _same("project_text", backbone.project_text(finished), (2, joint))


def _same(said: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise Found(f"{said} gives {list(tensor.shape)}, where the sizes say {list(shape)}")


def _is_tower(tower: Any) -> bool:
    return isinstance(tower, Tower) and min(tower.width, tower.depth, tower.heads) > 0


def _are_numbers(values: Any) -> bool:
    numbers = isinstance(values, tuple | list) and len(values) == 3
    return numbers and all(isinstance(value, float | int) and math.isfinite(value) for value in values)
