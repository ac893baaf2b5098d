"""The pretraining recipe: every number that decides the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """Pretraining in two phases: native-scale crops first, then mostly whole pictures."""

    seed: int = 111
    steps: int = 7_000
    """Optimisation steps in all."""
    whole_from: float = 0.7
    """Part of the steps after which whole pictures are used."""
    crop: int = 56
    """Side of the crops in pixels."""
    workers: int = 2
    """Processes that each take a batch of their own at every step."""
    crop_batch: int = 32
    """Crops of one worker."""
    whole_batch: int = 8
    """Whole pictures of one worker."""
    crop_share: float = 0.25
    """Part of the steps of the second phase that still use crops."""
    pool: int = 6144
    """Drawings that crops are taken from."""
    fresh: int = 4
    """Drawings of one worker replaced at each step."""
    defective: float = 0.75
    """Part of the drawings that show a defect."""
    rate: float = 1e-3
    warm_up: int = 300
    weight_decay: float = 0.05
    averaging: float = 0.98
    """Decay of the weight average that is exported, per ten steps."""
    levels: tuple[int, ...] = (2, 4, 6, 8)
    """Blocks after which patch tokens get throw-away heads."""


def rate_at(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine to 2 % of the full rate."""
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))))
