"""Gradient norms that a phase reports, and the watch on the adapters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, OptimizerPlan, TowerName
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute
from aaclip_kit.training.adapter_watch import AdapterWatch
from aaclip_kit.training.gradient_norms import norms
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import Watcher, build, phase_for, plan_for, train
from ..helpers import assert_close, gradient_of

pytestmark = pytest.mark.usefixtures("undrawn")

GROUPS: dict[TowerName, list[str]] = {
    "text": ["text_to_image", "text_adapter", "text_head"],
    "vision": ["image_to_text", "vision_adapter", "vision_heads"],
}
WALL = ("stages.wall.use=residual_adapter", "stages.wall.tower=vision", "stages.wall.after=[2]", "model.levels=[4, 8]")
"""A stage between the vision adapters and all that the losses see."""

ONE_LOOP = ("scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1.0]")


class Wall(AttentionStage):
    """Lets tokens through and no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens.detach() * self.gain


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment, "switches.dropout=false")


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_step_reports_the_norm_of_every_trained_group(run: Run, tower: TowerName) -> None:
    named = run.model.trained_parameters(tower)
    expected: dict[str, Tensor] = {}

    def watch(step: Step) -> None:
        for group in GROUPS[tower]:
            prefix = {"text_head": "prompts.", "vision_heads": "head."}.get(group, f"sites.stages.{group}.")
            found = [gradient_of(parameter).flatten() for name, parameter in named.items() if name.startswith(prefix)]
            expected[group] = torch.cat(found).norm()
        assert list(step.gradient_norms) == GROUPS[tower]
        for group, norm in step.gradient_norms.items():
            assert norm > 0
            assert_close(norm, float(expected[group]))

    train_phase(phase_for(run, plan_for(tower)), StepCallback(watch))
    assert expected


def test_norms_are_taken_before_clipping(run: Run, small_experiment: Path) -> None:
    """A group's norm exceeds what all gradients were clipped to."""
    step = train(run, plan_for("text", optimizer=OptimizerPlan(learning_rate=1e-12, clip_norm=1e-6)))[0]
    other = build(small_experiment, "switches.dropout=false")
    free = train(other, plan_for("text", optimizer=OptimizerPlan(learning_rate=1e-12)))[0]
    assert step.gradient_norms == free.gradient_norms
    assert min(free.gradient_norms.values()) > 1e-6


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_stage_that_is_off_is_no_group(run: Run, tower: TowerName) -> None:
    for step in train(run, plan_for(tower, attention=False)):
        assert list(step.gradient_norms) == GROUPS[tower][1:]


def test_a_group_without_gradients_has_norm_zero() -> None:
    assert norms({"a": [torch.tensor([3.0]), None, torch.tensor([[4.0]])], "b": [None], "c": []}) == {
        "a": 5.0, "b": 0.0, "c": 0.0,
    }  # fmt: skip


def step_with(**found: float) -> Step:
    return Step(2, "text", 1, 7, 0.5, {}, 1e-3, found)


def test_the_watch_tells_once_of_adapters_at_or_below_the_floor() -> None:
    watch = AdapterWatch(frozenset({"adapter"}), floor=1e-8)
    assert watch.check(step_with(adapter=1e-7, text_head=0.0)) is None
    assert watch.check(step_with(adapter=float("nan"), text_head=1.0)) is None
    event = watch.check(step_with(adapter=1e-8, text_head=1.0))
    assert event is not None
    assert (event["event"], event["loop"], event["phase"], event["step"]) == ("warning", 2, "text", 7)
    assert (event["group"], event["gradient_norm"], event["floor"]) == ("adapter", 1e-8, 1e-8)
    for part in ("loop 2, text phase, step 7", "'adapter' is 1e-08", "aakit gradients"):
        assert part in event["message"]
    assert watch.check(step_with(adapter=0.0)) is None


def test_a_floor_of_zero_still_tells_of_no_gradient_at_all() -> None:
    watch = AdapterWatch(frozenset({"adapter"}), floor=0.0)
    assert watch.check(step_with(adapter=1e-30)) is None
    assert watch.check(step_with(adapter=0.0)) is not None


def executed(path: Path, out: Path, *overrides: str, walled: bool = False) -> tuple[list[dict[str, Any]], Watcher]:
    """Events and messages of a run, its stage `wall` letting no gradient through."""
    experiment = load(path, discover(), [*ONE_LOOP, *overrides, *(WALL if walled else ())])
    if walled:
        wall = experiment.stages["wall"]
        built = replace(wall.component, factory=lambda options, setting: Wall())
        experiment = replace(experiment, stages={**experiment.stages, "wall": replace(wall, component=built)})
    listener = Watcher()
    execute(assemble(experiment), RunFolder.create(out), listener)
    lines = (out / "events.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], listener


def test_a_run_whose_adapters_get_no_gradient_warns_once(small_experiment: Path, tmp_path: Path) -> None:
    events, listener = executed(small_experiment, tmp_path / "run", walled=True)
    steps = [event for event in events if event["event"] == "step" and event["phase"] == "vision"]
    assert len(steps) > 1
    for step in steps:
        assert step["gradient_norms"]["vision_adapter"] == 0.0 < step["gradient_norms"]["vision_heads"]
    (warning,) = [event for event in events if event["event"] == "warning"]
    assert (warning["loop"], warning["phase"], warning["step"]) == (1, "vision", 1)
    assert (warning["group"], warning["gradient_norm"]) == ("vision_adapter", 0.0)
    assert [text for text in listener.messages if "gradient" in text] == [warning["message"]]


@pytest.mark.slow
def test_the_floor_decides_whether_a_run_warns(small_experiment: Path, tmp_path: Path) -> None:
    for floor, warnings in (("1e-8", 0), ("1e6", 1)):
        floored = f"training.adapter_gradient_floor={floor}"
        events, listener = executed(small_experiment, tmp_path / floor, floored)
        assert sum(event["event"] == "warning" for event in events) == warnings
        assert sum(text.startswith("warning: ") for text in listener.messages) == warnings
