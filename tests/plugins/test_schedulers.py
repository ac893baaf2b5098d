from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from aaclip_kit_plugins.schedulers import register_schedulers
from pydantic import ValidationError

from aaclip_kit import LoopPlan, LoopRecord

from .registered import registered


def loops(name: str, **options: Any) -> list[LoopPlan]:
    factory, model = registered(register_schedulers)[name]
    scheduler = factory(model(**options))
    history: tuple[LoopRecord, ...] = ()
    while (plan := scheduler.next_loop(history)) is not None:
        history += (LoopRecord(plan),)
        assert len(history) < 20
    return [record.plan for record in history]


def column(plans: list[LoopPlan], phase: int, name: str) -> list[Any]:
    return [getattr(plan.phases[phase], name) for plan in plans]


def rates(plans: list[LoopPlan], phase: int) -> list[float]:
    return [plan.phases[phase].optimizer.learning_rate for plan in plans]


def test_feedback_defaults_are_the_published_table() -> None:
    plans = loops("feedback")
    assert column(plans, 0, "train") == ["text"] * 3
    assert column(plans, 1, "train") == ["vision"] * 3
    assert (column(plans, 0, "epochs"), column(plans, 1, "epochs")) == ([5, 3, 2], [20, 10, 5])
    assert (column(plans, 0, "batch_size"), column(plans, 1, "batch_size")) == ([16] * 3, [2] * 3)
    assert rates(plans, 0) == pytest.approx([1e-5, 5e-6, 2.5e-6])
    assert rates(plans, 1) == pytest.approx([5e-4, 2.5e-4, 1.25e-4])
    assert column(plans, 0, "features") == ["frozen", "trained", "trained"]
    assert all(phase.attention for plan in plans for phase in plan.phases)
    for plan in plans:
        text, image = plan.phases
        assert {phase.optimizer.name for phase in plan.phases} == {"adam"}
        assert text.optimizer.betas == image.optimizer.betas == (0.5, 0.999)
        assert (text.optimizer.weight_decay, text.optimizer.clip_norm) == (0.0, None)
        assert text.rate.kind == "constant"
        assert (image.rate.kind, image.rate.at_fractions, image.rate.factor) == ("milestones", (0.5, 0.8), 0.5)


def test_feedback_options_reach_the_plan() -> None:
    options = {"text_epochs": [2], "image_epochs": [4], "rate_factors": [0.1], "text_batch": 3, "image_batch": 5}
    options |= {"betas": [0.1, 0.2], "milestones": [0.25], "milestone_factor": 0.3, "attention": False}
    (plan,) = loops("feedback", text_rate=1e-2, image_rate=1e-3, **options)
    text, image = plan.phases
    assert (text.epochs, text.batch_size, text.attention) == (2, 3, False)
    assert (image.epochs, image.batch_size, image.attention) == (4, 5, False)
    assert (text.optimizer.learning_rate, image.optimizer.learning_rate) == pytest.approx((1e-3, 1e-4))
    assert text.optimizer.betas == image.optimizer.betas == (0.1, 0.2)
    assert (image.rate.at_fractions, image.rate.factor) == ((0.25,), 0.3)


def test_feedback_lists_must_agree() -> None:
    with pytest.raises(ValidationError, match="text_epochs has 2, image_epochs has 3, rate_factors has 3"):
        loops("feedback", text_epochs=[5, 3])


def test_base_is_one_loop_without_cross_attention() -> None:
    (plan,) = loops("base")
    text, image = plan.phases
    assert (text.train, text.epochs, text.batch_size, text.optimizer.learning_rate) == ("text", 5, 16, 1e-5)
    assert (image.train, image.epochs, image.batch_size, image.optimizer.learning_rate) == ("vision", 20, 2, 5e-4)
    assert (text.attention, image.attention, text.features) == (False, False, "frozen")
    assert (image.rate.kind, image.rate.at_steps, image.rate.factor) == ("milestones", (16000, 32000), 0.5)
    assert text.rate.kind == "constant"


def test_base_milestones_are_steps_and_cannot_be_taken_for_fractions() -> None:
    (plan,) = loops("base", milestone_steps=[2, 7], milestone_factor=0.1)
    assert (plan.phases[1].rate.at_steps, plan.phases[1].rate.factor) == ((2, 7), 0.1)
    with pytest.raises(ValidationError):
        loops("base", milestone_steps=[1])


def test_v2_shrinks_epochs_and_rates_and_switches_attention_on_late() -> None:
    plans = loops("v2", loops=4, attention_from_loop=3)
    assert (column(plans, 0, "epochs"), column(plans, 1, "epochs")) == ([5, 4, 3, 2], [15, 12, 9, 7])
    assert rates(plans, 0) == pytest.approx([2e-5 * 0.8**loop for loop in range(4)])
    assert rates(plans, 1) == pytest.approx([5e-3 * 0.8**loop for loop in range(4)])
    assert column(plans, 0, "attention") == column(plans, 1, "attention") == [False, False, True, True]
    assert column(plans, 0, "features") == ["frozen", "trained", "trained", "trained"]
    for plan in plans:
        for phase in plan.phases:
            optimizer = phase.optimizer
            assert (optimizer.name, optimizer.betas) == ("adamw", (0.9, 0.999))
            assert (optimizer.weight_decay, optimizer.clip_norm) == (0.01, 1.0)
            assert phase.rate.kind == "warmup_cosine"
    assert [plan.phases[0].rate.warmup_epochs for plan in plans] == [2, 2, 2, 1]


def test_v2_keeps_an_epoch_and_attention_can_stay_off() -> None:
    plans = loops("v2", loops=10, text_epochs=1, epoch_factor=0.5, attention_from_loop=11)
    assert column(plans, 0, "epochs") == [1] * 10
    assert {plan.phases[0].rate.warmup_epochs for plan in plans} == {0}
    assert not any(phase.attention for plan in plans for phase in plan.phases)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("feedback", {"milestones": [1.5]}),
        ("feedback", {"text_rate": 0.0}),
        ("feedback", {"betas": [0.5]}),
        ("feedback", {"text_epochs": [5, 3, 0]}),
        ("feedback", {"text_epochs": ["5", 3, 2]}),
        ("v2", {"loops": 11}),
        ("v2", {"clip_norm": 0.0}),
        ("base", {"image_batch": 0}),
    ],
)
def test_options_out_of_range_are_refused(name: str, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        loops(name, **bad)


def test_planning_needs_no_torch() -> None:
    program = (
        "import sys; from aaclip_kit_plugins.schedulers import FeedbackOptions, FeedbackScheduler; "
        "FeedbackScheduler(FeedbackOptions()).next_loop(()); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
