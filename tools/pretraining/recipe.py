"""The pretraining recipe: every number that decides the weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """One phase: whole pictures, drawn and blended, whose stem features are kept while they are used."""

    seed: int = 111
    steps: int = 500
    """Optimisation steps with a scale of the similarities that is learnt."""
    settling: int = 150
    """Further steps, the last, with the scale of the method, so that what is trained on the model finds it settled."""
    workers: int = 2
    """Processes that each take a batch of their own at every step."""
    batch: int = 24
    """Pictures of one worker."""
    pool: int = 2_048
    """Pictures of one worker that batches are taken from."""
    fresh: int = 8
    """Pictures of one worker replaced at each step."""
    drawn: float = 0.15
    """Part of the pictures that are drawn; the others are blended."""
    defective: float = 0.7
    """Part of the pictures that show a defect."""
    rate: float = 1e-3
    settling_rate: float = 3e-4
    warm_up: int = 100
    cool_down: float = 0.3
    """The last part of the steps, in which the rate falls to 2 %; the others do not depend on how many there are."""
    dropout: float = 0.1
    """Part of the stem's channels that is left out, at random, of each patch."""
    weight_decay: float = 0.05
    averaging: float = 0.9
    """Decay of the weight average that is exported, per ten steps."""
    levels: tuple[int, ...] = (1, 2, 3, 4)
    """Blocks after which patch tokens are compared with texts."""


def rate_at(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then constant, then linear to 2 % of the full rate; linear to 2 % again while it settles."""
    if step >= recipe.steps:
        left = (recipe.steps + recipe.settling - step) / recipe.settling
        return recipe.settling_rate * max(0.02, left)
    warm = min(1.0, (step + 1) / recipe.warm_up)
    left = (recipe.steps - step) / (recipe.cool_down * recipe.steps)
    return recipe.rate * min(warm, max(0.02, min(1.0, left)))
