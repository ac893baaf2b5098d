"""The vision tower and its surgery."""

from __future__ import annotations

from typing import get_args

import torch

from ...contracts.backbone import Surgery
from ..check import Found
from ..subject import Subject
from .given import NEAR, PROMPTS, apart, build, images, walk_text, walk_vision

MODES: tuple[Surgery, ...] = get_args(Surgery)


def images_are_independent(subject: Subject) -> None:
    """Replace the other images, and leave them out."""
    backbone = build(subject)
    pictures, others = images(backbone), images(backbone, seed=2)
    replaced = torch.cat([pictures[:1], others[1:]])
    modes: tuple[Surgery, ...] = ("none", "tokens")
    for mode in modes:
        first = walk_vision(backbone, pictures, mode)[:1]
        for said, given in (("others in their place", replaced), ("the others left out", pictures[:1])):
            if (difference := apart(walk_vision(backbone, given, mode)[:1], first)) > NEAR:
                change = f"changes by {difference:.2g} of the largest value"
                raise Found(f"with surgery '{mode}', image 0 {change} with {said}")


def surgery_acts(subject: Subject) -> None:
    """Run each mode; they differ from one another where the tower has blocks of surgery."""
    backbone = build(subject)
    pictures = images(backbone)
    found = {mode: walk_vision(backbone, pictures, mode) for mode in MODES}
    for mode, tokens in found.items():
        if tokens.shape != found["none"].shape:
            raise Found(f"surgery '{mode}' gives {list(tokens.shape)}, '{MODES[0]}' {list(found['none'].shape)}")
        if not tokens.isfinite().all():
            raise Found(f"with surgery '{mode}' the tokens are not finite")
    if backbone.surgery_start == backbone.vision.depth:
        return
    pairs: tuple[tuple[Surgery, Surgery], ...] = (("tokens", "none"), ("batch", "none"), ("batch", "tokens"))
    for one, other in pairs:
        if apart(found[one], found[other]) <= NEAR:
            raise Found(f"surgery '{one}' gives the same as '{other}'")


@torch.no_grad()
def frozen_features_repeat(subject: Subject) -> None:
    """Twice, under two seeds."""
    backbone = build(subject)
    pictures, numbers = images(backbone), backbone.tokenize(PROMPTS)
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        words = backbone.finish_text(walk_text(backbone, numbers), backbone.end_of_text(numbers))
        found.append((backbone.project_image(walk_vision(backbone, pictures)), backbone.project_text(words)))
    for name, one, two in zip(("image", "text"), *found, strict=True):
        if not one.isfinite().all():
            raise Found(f"{name} features are not finite")
        if apart(one, two) > NEAR:
            raise Found(f"{name} features under two torch seeds differ")
