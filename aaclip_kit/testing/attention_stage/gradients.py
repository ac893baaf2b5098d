"""Gradients reach what they should."""

from __future__ import annotations

import torch

from ...contracts.stage import AttentionStage
from ..check import Found
from ..subject import Subject
from .given import Given, build, direction, inputs, settings

STEPS = 4
RATE = 1e-2


def gradient_reaches_the_tokens(subject: Subject) -> None:
    """From a stage as it is built."""
    for setting in settings(subject):
        stage = build(subject, setting).train()
        given = inputs(stage, setting)
        tokens = given.tokens.requires_grad_()
        objective = _objective(stage, given)
        if not objective.requires_grad:
            raise Found("the result hangs on no gradient at all")
        (gradient,) = torch.autograd.grad(objective, tokens, allow_unused=True)
        if gradient is None:
            raise Found("no gradient reaches the tokens")
        if not gradient.isfinite().all():
            raise Found("the gradient at the tokens is not finite")
        without = [item for item, part in enumerate(gradient) if not part.any()]
        if without:
            raise Found(f"no gradient reaches the tokens of items {', '.join(map(str, without))} of {len(gradient)}")


def every_parameter_learns(subject: Subject) -> None:
    """Over a few steps, for an output that begins at zero keeps the gradient from what stands before it."""
    for setting in settings(subject):
        stage = build(subject, setting).train().requires_grad_(True)
        named = dict(stage.named_parameters())
        if not named:
            continue
        optimizer, waiting = torch.optim.Adam(named.values(), lr=RATE), set(named)
        for step in range(STEPS):
            optimizer.zero_grad()
            _objective(stage, inputs(stage, setting, seed=10 + step)).backward()
            for name, parameter in named.items():
                if parameter.grad is None or not parameter.grad.any():
                    continue
                if not parameter.grad.isfinite().all():
                    raise Found(f"the gradient of {name} is not finite in step {step + 1}")
                waiting.discard(name)
            optimizer.step()
        if waiting:
            raise Found(f"in {STEPS} steps no gradient reached {', '.join(sorted(waiting))}")


def _objective(stage: AttentionStage, given: Given) -> torch.Tensor:
    changed: torch.Tensor = stage(given.tokens, given.context)
    return (changed * direction(changed)).sum()
