"""A phase that trains both towers at once, and the image score's logits in text phases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aaclip_kit import PhasePlan, UserError
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run
from aaclip_kit.run.loop import execute
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import (
    Probe,
    Watcher,
    build,
    names_in_modules,
    phase_for,
    plan_for,
    text_of,
    train,
    values_of,
    with_parts,
)  # fmt: skip
from ..helpers import assert_close
from ..parts import Plans

pytestmark = pytest.mark.usefixtures("undrawn")

BOTH = ("losses.both.segmentation.use=segmentation", "losses.both.detection.use=image_cross_entropy")


class Everything(Probe):
    """Asks for all that a head makes."""

    needs = ("level_probabilities", "text_features", "detection_logits")

    def forward(self, **named: Any) -> dict[str, Tensor]:
        return {**super().forward(**named), "logits": named["detection_logits"][:, 1].sum()}


@pytest.fixture
def still(small_experiment: Path) -> Run:
    return build(small_experiment, "switches.dropout=false")


def probed(run: Run, plan: PhasePlan) -> dict[str, Any]:
    probe = Everything()
    train(run, plan, WeightedLosses({"probe": (probe, 1.0)}))
    return probe.seen[0]


def test_both_towers_take_gradients_and_move(still: Run) -> None:
    before, own = (
        values_of(still.model),
        names_in_modules(still.model, "text") | names_in_modules(still.model, "vision"),
    )
    named, with_gradient = dict(still.model.named_parameters()), set[str]()

    def watch(step: Step) -> None:
        with_gradient.update(name for name, parameter in named.items() if parameter.grad is not None)
        groups = ["text_to_image", "text_adapter", "text_head", "image_to_text", "vision_adapter", "vision_heads"]
        assert list(step.gradient_norms) == groups and step.phase == "both"

    losses = WeightedLosses({"probe": (Everything(), 1.0)})
    train_phase(phase_for(still, plan_for("both"), losses), StepCallback(watch))
    assert with_gradient == own
    moved = {name for name, value in still.model.state_dict().items() if not torch.equal(value, before[name])}
    assert own - {name for name in own if name.endswith("k_proj.bias")} <= moved <= own


def test_losses_see_what_both_sides_say_now(still: Run) -> None:
    plan = plan_for("both", batch_size=8)
    batch = next(iter(phase_for(still, plan, WeightedLosses()).batches.epoch(1)))
    model, attending = still.model, {"text", "vision"}
    with torch.no_grad():
        image = model.image_features(batch.images, batch.classes, True)
        context = model.text_phase_inputs(batch.images, batch.classes, False, attending)[1]  # type: ignore[arg-type]
        text = model.text_features(batch.classes, context)
        maps = model.head.level_probabilities(image, text, still.pixels.size)
        logits = model.head.detection_logits(image, text)
    seen = probed(still, plan)
    assert seen["text_features"].requires_grad and seen["level_probabilities"][2].requires_grad
    assert_close(seen["text_features"].detach(), text)
    assert_close(seen["detection_logits"].detach(), logits)
    for level, found in maps.items():
        assert_close(seen["level_probabilities"][level].detach(), found)


def test_a_run_has_such_a_phase_with_losses_of_its_own(small_experiment: Path, tmp_path: Path) -> None:
    plans = Plans(plan_for("both"), plan_for("vision"))
    run = with_parts(small_experiment, *BOTH, "compute.recompute=auto", scheduler=lambda _: plans)
    execute(run, RunFolder.create(tmp_path / "run"), Watcher())
    lines = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "step"]
    assert [step["phase"] for step in steps] == ["both", "both", "vision", "vision"]
    assert "detection/image_cross_entropy" in steps[0]["terms"]


def test_a_phase_without_losses_of_its_own_is_refused(small_experiment: Path) -> None:
    with pytest.raises(UserError, match=r"no loss here depends on what the phase trains \(both\)") as caught:
        with_parts(small_experiment, scheduler=lambda _: Plans(plan_for("both")))
    assert caught.value.where == "losses.both"


@pytest.mark.parametrize("features", ["frozen", "trained"])
def test_a_text_phase_has_the_image_scores_logits(still: Run, features: str) -> None:
    plan = plan_for("text", batch_size=8, features=features)
    batch = next(iter(phase_for(still, plan, WeightedLosses()).batches.epoch(1)))
    seen = still.model.text_phase_inputs(batch.images, batch.classes, features == "trained", {"text", "vision"})
    with torch.no_grad():
        text = still.model.text_features(batch.classes, seen[1])
    assert seen[0].detection is not None
    found = probed(still, plan)["detection_logits"]
    assert found.requires_grad
    assert_close(found.detach(), torch.einsum("be,bec->bc", seen[0].detection, text))


def test_an_experiment_may_use_them_there(small_experiment: Path) -> None:
    run = build(small_experiment, "losses.text.image.use=image_cross_entropy")
    (step,) = train(run, plan_for("text", batch_size=8))
    assert step.terms["image/image_cross_entropy"] > 0
    assert text_of(run.model).class_features(("red_cloth",)).isfinite().all()
