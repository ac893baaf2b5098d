"""How the learning rate changes within a phase."""

import math
from collections.abc import Callable

import torch
from torch.optim.lr_scheduler import LambdaLR

from ..contracts.schedule import RatePlan


def build_schedule(plan: RatePlan, optimizer: torch.optim.Optimizer, epochs: int, steps_per_epoch: int) -> LambdaLR:
    """Build the learning rate's course over a phase, stepped once a training step."""
    return LambdaLR(optimizer, rate_factor(plan, epochs * steps_per_epoch, steps_per_epoch))


def rate_factor(plan: RatePlan, steps: int, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the factor on the learning rate before each step, counted from 0."""
    if plan.kind == "milestones":
        # The small part keeps a product such as 0.28 * 25 from lying above the whole number that it means.
        milestones = [fraction * steps - 1e-9 for fraction in plan.at_fractions] + list(plan.at_steps)
        return lambda step: plan.factor ** sum(step >= milestone for milestone in milestones)
    if plan.kind == "warmup_cosine":
        warm = plan.warmup_epochs * steps_per_epoch
        return lambda step: _warmup_cosine(step, warm, steps)
    return lambda step: 1.0


def _warmup_cosine(step: int, warm: int, steps: int) -> float:
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))
