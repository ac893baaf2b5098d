"""The rate's course and the optimiser against written-out numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from aaclip_kit import OptimizerPlan, RatePlan
from aaclip_kit.training.lr_schedule import build_schedule, rate_factor
from aaclip_kit.training.optimizer import build_optimizer

from ..helpers import assert_close

COURSES: dict[str, tuple[RatePlan, int, int, list[float]]] = {
    "constant": (RatePlan(), 4, 2, [1, 1, 1, 1]),
    "published milestones, fractions of 10 steps": (
        RatePlan("milestones", at_fractions=(0.5, 0.8)),
        10,
        5,
        [1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25],
    ),
    "fractions of 5 steps, between two": (RatePlan("milestones", at_fractions=(0.5, 0.8)), 5, 5, [1, 1, 1, 0.5, 0.25]),
    "a fraction that floating point puts above step 7": (
        RatePlan("milestones", at_fractions=(0.28,)),
        25,
        5,
        [1] * 7 + [0.5] * 18,
    ),
    "milestones as step numbers": (RatePlan("milestones", at_steps=(2, 4)), 6, 3, [1, 1, 0.5, 0.5, 0.25, 0.25]),
    "another factor": (RatePlan("milestones", at_steps=(2,), factor=0.1), 4, 2, [1, 1, 0.1, 0.1]),
    "warm-up over two epochs of two, then a cosine over four": (
        RatePlan("warmup_cosine", warmup_epochs=2),
        8,
        2,
        [0.25, 0.5, 0.75, 1, 1, 0.853553, 0.5, 0.146447],
    ),
    "cosine alone": (RatePlan("warmup_cosine"), 4, 2, [1, 0.853553, 0.5, 0.146447]),
    "nothing but warm-up": (RatePlan("warmup_cosine", warmup_epochs=2), 4, 2, [0.25, 0.5, 0.75, 1]),
}


@pytest.mark.parametrize("name", COURSES)
def test_factors_before_each_step(name: str) -> None:
    plan, steps, steps_per_epoch, expected = COURSES[name]
    factor = rate_factor(plan, steps, steps_per_epoch)
    assert_close([float(factor(step)) for step in range(steps)], [float(value) for value in expected])


def test_a_cosine_ends_at_zero_and_stays() -> None:
    factor = rate_factor(RatePlan("warmup_cosine", warmup_epochs=1), 4, 2)
    assert_close([factor(4), factor(9)], [0.0, 0.0])


def test_the_optimisers_rate_follows_the_plan() -> None:
    weight = nn.Parameter(torch.ones(2))
    optimizer = build_optimizer(OptimizerPlan(learning_rate=0.2), [weight])
    rate = build_schedule(RatePlan("warmup_cosine", warmup_epochs=1), optimizer, epochs=3, steps_per_epoch=2)
    seen = []
    for _ in range(6):
        seen.append(optimizer.param_groups[0]["lr"])
        weight.grad = torch.ones(2)
        optimizer.step()
        rate.step()
    assert_close(seen, [0.1, 0.2, 0.2, 0.1707107, 0.1, 0.0292893])


@pytest.mark.parametrize(
    ("plan", "kind", "expected"),
    [
        (OptimizerPlan(), torch.optim.Adam, {"lr": 1e-3, "betas": (0.5, 0.999), "weight_decay": 0.0}),
        (
            OptimizerPlan("adamw", 5e-3, (0.9, 0.99), 0.01),
            torch.optim.AdamW,
            {"lr": 5e-3, "betas": (0.9, 0.99), "weight_decay": 0.01},
        ),
    ],
)
def test_the_planned_optimiser_is_built(plan: OptimizerPlan, kind: type, expected: dict[str, Any]) -> None:
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))]
    optimizer = build_optimizer(plan, weights)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in expected} == expected
    assert [id(weight) for weight in group["params"]] == [id(weight) for weight in weights]


def test_weight_decay_of_adamw_shrinks_a_weight_without_gradient() -> None:
    weight = nn.Parameter(torch.ones(1))
    optimizer = build_optimizer(OptimizerPlan("adamw", learning_rate=0.1, weight_decay=0.5), [weight])
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert_close(weight.detach(), [0.95])
