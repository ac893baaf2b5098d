"""A place that runs ahead: nobody waits for a step's numbers, and yet none that is not finite reaches the weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import OptimizerPlan, RatePlan, UserError
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.run.assemble import Run
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.optimizer import OptimizerStepper
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import BreaksAtStep, Probe, build, phase_for, plan_for, values_of
from ..helpers import assert_close

KEY_BIAS = "k_proj.bias"
"""Adds the same to all of a query's similarities, which their softmax takes away again: its gradient is rounding alone,
and Adam, which divides by a gradient's size, makes full steps of it. So its value is nobody's to promise."""


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU treated as a device that is not waited for; torch's fused optimisers are there for it too."""
    monkeypatch.setattr(ComputeDevice, "runs_ahead", True)


@pytest.fixture
def still(small_experiment: Path) -> Run:
    return build(small_experiment, "switches.dropout=false")


def steps_of(run: Run, losses: WeightedLosses | None = None, **plan: Any) -> list[Step]:
    steps: list[Step] = []
    train_phase(phase_for(run, plan_for("text", epochs=3, **plan), losses), StepCallback(steps.append))
    return steps


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_running_ahead_trains_as_waiting_does(still: Run, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    start, found, ends = still.model.state_dict(), [], []
    start = {key: value.clone() for key, value in start.items()}
    plan: dict[str, Any] = {
        "optimizer": OptimizerPlan(name=name, learning_rate=1e-3, weight_decay=0.01, clip_norm=0.5),  # type: ignore[arg-type]
        "rate": RatePlan("warmup_cosine", warmup_epochs=1),
    }
    for runs_ahead in (False, True):
        still.model.load_state_dict(start)
        monkeypatch.setattr(ComputeDevice, "runs_ahead", runs_ahead)
        found.append(steps_of(still, **plan))
        ends.append(values_of(still.model))
    assert len(found[0]) == len(found[1]) == 6
    for one, other in zip(*found, strict=True):
        assert (one.step, one.epoch, one.learning_rate) == (other.step, other.epoch, other.learning_rate)
        assert_close(other.loss, one.loss)
        for group, norm in one.gradient_norms.items():
            assert_close(other.gradient_norms[group], norm, rtol=1e-4)
    trained = {key: value.grad for key, value in still.model.named_parameters() if value.grad is not None}
    assert len([key for key in trained if key.endswith(KEY_BIAS)]) == 1
    for key, value in ends[0].items():
        if key in trained and key.endswith(KEY_BIAS):
            assert trained[key].norm() < 1e-5 * trained[key.replace("bias", "weight")].norm()
        else:
            assert_close(ends[1][key], value, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("ahead")
def test_a_step_that_is_not_finite_and_those_after_it_leave_the_weights_as_they_are(still: Run) -> None:
    phase = phase_for(still, plan_for("text", epochs=3), WeightedLosses({"bad": (BreaksAtStep(3), 1.0)}), loop=2)
    train_phase(phase_for(still, plan_for("text"), WeightedLosses({"good": (Probe(), 1.0)})))
    one_step_late: list[dict[str, Tensor]] = []
    with pytest.raises(UserError) as caught:
        train_phase(phase, StepCallback(lambda step: one_step_late.append(values_of(still.model))))
    assert "loop 2, text phase, step 3" in str(caught.value) and "bad/broken" in str(caught.value)
    # The second report comes when the third step, which must not count, has been taken.
    assert len(one_step_late) == 2
    assert all(torch.equal(value, one_step_late[1][name]) for name, value in still.model.state_dict().items())


@pytest.mark.usefixtures("ahead")
def test_a_gradient_that_is_not_finite_is_held_back_as_a_loss_is(still: Run) -> None:
    weight = nn.Parameter(torch.ones(3))
    plan = plan_for("text", optimizer=OptimizerPlan(learning_rate=0.1))
    stepper = OptimizerStepper(plan, {"group": [weight]}, still.compute_device, steps_per_epoch=2)
    for factor, expected in ((1.0, 0.9), (math.inf, 0.9), (1.0, 0.9)):
        loss = (weight * factor).sum() * (1.0 if math.isfinite(factor) else 0.0)
        stats = stepper.gradients(loss, {"term": loss})
        stepper.take(stats)
        assert_close(weight.detach(), torch.full((3,), expected))
        assert bool(stats.finite) == math.isfinite(factor)
        assert (stats.read().bad_norms == []) == math.isfinite(factor)
