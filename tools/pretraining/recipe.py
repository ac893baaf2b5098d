"""The pretraining recipe: every number that decides the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One phase: whole pictures, drawn and blended, whose stem features are kept while they are used."""

    seed: int = 111
    steps: int = 3_000
    """Optimisation steps in all."""
    workers: int = 2
    """Processes that each take a batch of their own at every step."""
    batch: int = 24
    """Pictures of one worker."""
    pool: int = 2_048
    """Pictures of one worker that batches are taken from."""
    fresh: int = 8
    """Pictures of one worker replaced at each step."""
    drawn: float = 0.4
    """Part of the pictures that are drawn; the others are blended."""
    defective: float = 0.7
    """Part of the pictures that show a defect."""
    rate: float = 1e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    averaging: float = 0.9
    """Decay of the weight average that is exported, per ten steps."""
    levels: tuple[int, ...] = (1, 2, 3, 4)
    """Blocks after which patch tokens are compared with texts."""


def rate_at(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then cosine to 2 % of the full rate."""
    if step < recipe.warm_up:
        return recipe.rate * (step + 1) / recipe.warm_up
    done = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.rate * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done))))
