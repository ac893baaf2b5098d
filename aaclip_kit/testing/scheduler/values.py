"""What stands in a plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...contracts.options import TOWERS
from ...contracts.schedule import OptimizerPlan, PhasePlan, RatePlan
from ..check import Found
from ..subject import Subject
from .plans import build, histories


def plans_are_valid(subject: Subject) -> None:
    """Every phase of every loop."""
    for loop, record in enumerate(histories(build(subject))[-1], start=1):
        for number, phase in enumerate(record.plan.phases, start=1):
            for said, right in _phase(phase):
                if not right:
                    raise Found(f"in loop {loop}, phase {number}, {said}")


def _phase(phase: PhasePlan) -> Iterator[tuple[str, bool]]:
    if not isinstance(phase, PhasePlan):
        yield f"there is a {type(phase).__name__} in place of a PhasePlan", False
        return
    yield f"train is {phase.train!r}, which is no tower", phase.train in TOWERS
    yield f"epochs is {phase.epochs!r}", _whole(phase.epochs, 1)
    yield f"batch_size is {phase.batch_size!r}", _whole(phase.batch_size, 1)
    yield f"features is {phase.features!r}", phase.features in ("frozen", "trained")
    yield f"attention is {phase.attention!r}", isinstance(phase.attention, bool)
    yield f"optimizer is {phase.optimizer!r}, no OptimizerPlan", isinstance(phase.optimizer, OptimizerPlan)
    yield f"rate is {phase.rate!r}, no RatePlan", isinstance(phase.rate, RatePlan)
    yield from _optimizer(phase.optimizer)
    yield from _rate(phase.rate, phase.epochs)


def _optimizer(plan: OptimizerPlan) -> Iterator[tuple[str, bool]]:
    yield f"the optimiser is {plan.name!r}, not 'adam' or 'adamw'", plan.name in ("adam", "adamw")
    yield f"its rate is {plan.rate!r}", _number(plan.rate) and plan.rate > 0
    betas = isinstance(plan.betas, tuple) and len(plan.betas) == 2
    yield f"its betas are {plan.betas!r}", betas and all(_number(beta) and 0 <= beta < 1 for beta in plan.betas)
    yield f"its weight_decay is {plan.weight_decay!r}", _number(plan.weight_decay) and plan.weight_decay >= 0
    clip = plan.clip_norm
    yield f"its clip_norm is {clip!r}", clip is None or (_number(clip) and clip > 0)


def _rate(plan: RatePlan, epochs: int) -> Iterator[tuple[str, bool]]:
    yield f"the rate's kind is {plan.kind!r}", plan.kind in ("constant", "milestones", "warmup_cosine")
    yield f"its milestones are {plan.at!r}", isinstance(plan.at, tuple) and all(_number(place) for place in plan.at)
    yield f"its factor is {plan.factor!r}", _number(plan.factor) and plan.factor > 0
    warm = plan.warmup_epochs
    yield f"its warmup_epochs is {warm!r} of {epochs}", _whole(warm, 0) and warm <= epochs


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
