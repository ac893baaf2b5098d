"""Chance is torch's seed; what is learnt is in the parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contracts.stage import AttentionStage, StageSetting
from ..check import Found
from ..subject import Subject
from .given import Given, beyond, build, direction, inputs, result, settings, stir, stirred

NEAR = 1e-5
STEPS = 2


def seed_decides(subject: Subject) -> None:
    """Build twice and train twice under one seed."""
    for setting in settings(subject):
        one, two = (build(subject, setting, seed=5) for _ in range(2))
        for (name, here), there in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
            if not torch.equal(here, there):
                raise Found(f"two builds under one torch seed differ in {name}")
        stage = stirred(subject, setting).train()
        given = inputs(stage, setting)
        if difference := beyond(*(_seeded(stage, given, seed=6) for _ in range(2)), tolerance=NEAR):
            raise Found(f"in training, two results under one torch seed differ by {difference:.2g}")


def dropout_in_training_only(subject: Subject) -> None:
    """Evaluate under two seeds."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        given = inputs(stage, setting)
        if difference := beyond(*(_seeded(stage, given, seed) for seed in (7, 8)), tolerance=NEAR):
            raise Found(f"in evaluation, results under two torch seeds differ by {difference:.2g}")


def parameters_are_all_that_is_learnt(subject: Subject) -> None:
    """Train a little, copy the parameters into a stage built under another seed, and compare."""
    for setting in settings(subject):
        trained, other = _trained(subject, setting), build(subject, setting, seed=9).eval()
        learnt = dict(trained.named_parameters())
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                parameter.copy_(learnt[name])
        given = inputs(trained, setting)
        if difference := beyond(result(trained, given), result(other, given), tolerance=NEAR):
            raise Found(f"a stage built under another seed, with the same parameters, differs by {difference:.2g}")


def _trained(subject: Subject, setting: StageSetting) -> AttentionStage:
    stage = build(subject, setting).train().requires_grad_(True)
    stir(stage)
    parameters = list(stage.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-2) if parameters else None
    for step in range(STEPS):
        given = inputs(stage, setting, seed=30 + step)
        changed = stage(given.tokens, given.context)
        if optimizer is not None:
            optimizer.zero_grad()
            (changed * direction(changed)).mean().backward()
            optimizer.step()
    return stage.eval()


def _seeded(stage: AttentionStage, given: Given, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return result(stage, given)
