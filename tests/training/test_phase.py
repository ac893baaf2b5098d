"""One phase: what moves, what is fixed, what the losses see, and what stops it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.projections.head import similarity_grid
from torch import Tensor, nn

from aaclip_kit import (
    AttentionStage,
    Context,
    Loss,
    OptimizerPlan,
    PhasePlan,
    RatePlan,
    TowerName,
    UserError,
    softmax_maps,
)  # fmt: skip
from aaclip_kit.run.assemble import Run
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import BreaksAtStep, Probe, build, names_in_modules, phase_for, plan_for, text_of, train, values_of
from ..helpers import assert_close

TOWERS: tuple[TowerName, ...] = ("text", "vision")


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment)


@pytest.fixture
def still(small_experiment: Path) -> Run:
    """The same without dropout."""
    return build(small_experiment, "switches.dropout=false")


class NormalProbe(Probe):
    def forward(self, **named: Any) -> dict[str, Tensor]:
        return {"pull": named["text_features"][:, :, 0].pow(3).sum()}


class DetectionProbe(Probe):
    needs = ("level_probabilities", "text_features", "detection_logits")


def probed(run: Run, plan: PhasePlan, probe: Probe) -> list[dict[str, Any]]:
    train(run, plan, WeightedLosses({"probe": (probe, 1.0)}))
    return probe.seen


@pytest.mark.parametrize("tower", TOWERS)
def test_only_the_phases_tower_takes_gradients_and_moves(run: Run, tower: TowerName) -> None:
    before, own = values_of(run.model), names_in_modules(run.model, tower)
    named = dict(run.model.named_parameters())
    open_ones, with_gradient = set[str](), set[str]()

    def watch(step: Step) -> None:
        open_ones.update(name for name, parameter in named.items() if parameter.requires_grad)
        with_gradient.update(name for name, parameter in named.items() if parameter.grad is not None)

    train_phase(phase_for(run, plan_for(tower)), StepCallback(watch))
    assert open_ones == with_gradient == own
    moved = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    # A bias on every key alike does not change attention weights: its gradient is rounding.
    assert own - {name for name in own if name.endswith("k_proj.bias")} <= moved <= own
    assert not any(parameter.requires_grad for parameter in named.values())
    assert not any(module.training for module in run.model.modules())


def test_both_towers_together_train_every_stage_and_head(run: Run) -> None:
    trained = [names_in_modules(run.model, tower) for tower in TOWERS]
    named = {name for name, _ in run.model.named_parameters() if not name.startswith("backbone.")}
    assert trained[0] | trained[1] == named and not trained[0] & trained[1]
    assert "prompts.projection.weight" in trained[0] and "head.detection.linear.weight" in trained[1]


class DropsTokens(AttentionStage):
    """An adapter whose dropout takes away what it is given."""

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return nn.functional.dropout(tokens, 0.5, self.training)


def test_dropout_of_the_tower_that_trains_stays_out_of_the_context_it_gives_to_the_other(still: Run) -> None:
    """A text phase from loop 2 on trains text stages while the vision side, which it only sees, attends to text."""
    model, classes = still.model, ("red_cloth",)
    model.slots.place("dropping", "text", 0, DropsTokens())
    expected = model.text_contexts(classes, True)["text"].tokens
    model.switches = model.switches.model_copy(update={"dropout": True})
    with model.training_tower("text"):
        assert_close(model.text_contexts(classes, True)["text"].tokens, expected, rtol=0, atol=0)
        assert all(stage.training for _, _, stage in model.slots.of("text"))


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("switch", ["true", "false"])
def test_dropout_acts_where_the_switch_is_on_and_in_the_trained_tower_only(
    small_experiment: Path, tower: TowerName, switch: str
) -> None:
    losses = []
    for share in (0.9, 0.0):
        dropout = [f"stages.{name}.dropout={share}" for name in ("text_to_image", "image_to_text")]
        run = build(small_experiment, f"switches.dropout={switch}", *dropout)
        in_training = set[str]()

        def watch(step: Step, run: Run = run, modes: set[str] = in_training) -> None:
            modes.update(t for t in TOWERS for _, _, stage in run.model.slots.of(t) if stage.training)
            losses.append(step.loss)

        train_phase(phase_for(run, plan_for(tower, batch_size=8)), StepCallback(watch))
        assert in_training == ({tower} if switch == "true" else set())
    assert (losses[0] != losses[1]) == (switch == "true")


def test_text_is_fixed_and_without_gradient_in_a_vision_phase(run: Run) -> None:
    expected = text_of(run.model).class_features(("red_cloth",))[0]
    seen = probed(run, plan_for("vision", epochs=2), DetectionProbe())
    assert len(seen) == 4
    for named in seen:
        assert not named["text_features"].requires_grad
        assert all(torch.equal(feature, expected) for feature in named["text_features"])


@pytest.mark.parametrize("attention", [True, False])
def test_losses_of_a_vision_phase_see_maps_and_logits_of_the_trained_side(still: Run, attention: bool) -> None:
    run = still
    plan = plan_for("vision", batch_size=8, attention=attention)
    batch = next(phase_for(run, plan).batches.epoch(1))
    with torch.no_grad():
        found = run.model.image_features(batch.images, batch.classes, attention)
        text = text_of(run.model).class_features(("red_cloth",))[0]
    (seen,) = probed(run, plan, DetectionProbe())
    assert found.detection is not None
    logits = [[float(detection @ text[:, column]) for column in (0, 1)] for detection in found.detection]
    assert_close(seen["detection_logits"], torch.tensor(logits))
    for level, patches in found.levels.items():
        expected = softmax_maps(similarity_grid(patches, text.expand(8, -1, -1)), run.pixels.size)
        assert_close(seen["level_probabilities"][level], expected)


@pytest.mark.parametrize("features", ["frozen", "trained"])
@pytest.mark.parametrize("attending", [{"text", "vision"}, {"text"}, {"vision"}, set()])
def test_losses_of_a_text_phase_see_the_planned_features(still: Run, features: str, attending: set[TowerName]) -> None:
    run, probe = still, Probe()
    plan, losses = plan_for("text", batch_size=8, features=features), WeightedLosses({"probe": (probe, 1.0)})
    phase = replace(phase_for(run, plan, losses), attending=attending)
    (batch,) = phase.batches.epoch(1)
    trained = features == "trained"
    image, context = run.model.text_phase_inputs(batch.images, batch.classes, trained, attending)
    with torch.no_grad():
        text = run.model.text_features(batch.classes, context)
    assert (context is None) == ("text" not in attending)
    train_phase(phase, StepCallback())
    (seen,) = probe.seen
    assert_close(seen["text_features"].detach(), text)
    assert_close(seen["masks"], batch.masks)
    assert_close(seen["labels"], batch.labels)
    for level, patches in image.levels.items():
        expected = softmax_maps(similarity_grid(patches, text), run.pixels.size)
        assert_close(seen["level_probabilities"][level].detach(), expected)


def test_steps_report_place_rate_and_the_sum_of_the_terms(run: Run) -> None:
    plan = plan_for("text", epochs=2, rate=RatePlan("milestones", at_fractions=(0.5,)))
    steps = train(run, plan)
    assert [(step.epoch, step.step) for step in steps] == [(1, 1), (1, 2), (2, 3), (2, 4)]
    assert {(step.loop, step.phase) for step in steps} == {(1, "text")}
    assert [step.learning_rate for step in steps] == [1e-3, 1e-3, 5e-4, 5e-4]
    names = [
        f"segmentation/level_{n}_{part}" for n in (2, 4, 6, 8) for part in ("focal", "dice_normal", "dice_abnormal")
    ]
    for step in steps:
        assert list(step.terms) == [*names, "orthogonality/orthogonality"]
        assert_close(step.loss, sum(step.terms.values()))


def first_gradients(
    run: Run, losses: dict[str, tuple[Loss, float]], clip_norm: float | None = None
) -> dict[str, Tensor]:
    """What the text phase's parameters hold after one step."""
    optimizer = OptimizerPlan(learning_rate=1e-12, clip_norm=clip_norm)
    train(run, plan_for("text", batch_size=8, optimizer=optimizer), WeightedLosses(losses))
    parameters = run.model.trained_parameters("text")
    return {name: value.grad.clone() for name, value in parameters.items() if value.grad is not None}


def test_weights_scale_terms_and_gradients(still: Run) -> None:
    maps = first_gradients(still, {"a": (Probe(), 1.0)})
    text = first_gradients(still, {"b": (NormalProbe(), 1.0)})
    both = first_gradients(still, {"a": (Probe(), 0.25), "b": (NormalProbe(), 3.0)})
    assert maps["prompts.projection.weight"].abs().max() > 1e-4
    for name, found in both.items():
        assert_close(found, 0.25 * maps[name] + 3.0 * text[name], atol=1e-5)
    plan = plan_for("text", batch_size=8, optimizer=OptimizerPlan(learning_rate=1e-12))
    (whole,), (part,) = (train(still, plan, WeightedLosses({"a": (Probe(), weight)})) for weight in (1.0, 0.25))
    assert_close(part.terms["a/pull"], 0.25 * whole.terms["a/pull"])


def test_gradients_are_clipped_to_the_planned_norm(still: Run) -> None:
    def norm(gradients: dict[str, Tensor]) -> Tensor:
        return torch.stack([found.square().sum() for found in gradients.values()]).sum().sqrt()

    losses: dict[str, tuple[Loss, float]] = {"a": (Probe(), 1.0)}
    free = first_gradients(still, losses)
    for share in (0.5, 2.0):
        clipped = first_gradients(still, losses, clip_norm=share * float(norm(free)))
        assert_close(norm(clipped), min(share, 1.0) * norm(free), rtol=1e-4)
        assert_close(
            clipped["prompts.projection.weight"], min(share, 1.0) * free["prompts.projection.weight"], rtol=1e-4
        )


def test_maps_are_made_only_where_a_loss_asks_for_them(still: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    monkeypatch.setattr(still.model.head, "level_probabilities", lambda *found: made.append(1))
    train(still, plan_for("text"), WeightedLosses({"orthogonality": still.losses["text"].losses["orthogonality"]}))
    assert not made


@pytest.mark.parametrize("tower", TOWERS)
def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(still: Run, tower: TowerName) -> None:
    losses = WeightedLosses({"bad": (BreaksAtStep(2), 1.0)})
    phase = phase_for(still, plan_for(tower), losses, loop=3)
    _, second = phase.batches.epoch(1)
    kept: list[dict[str, Tensor]] = []
    with pytest.raises(UserError) as caught:
        train_phase(phase, StepCallback(lambda step: kept.append(values_of(still.model))))
    message = str(caught.value)
    for part in ("loop 3", f"{tower} phase", "step 2", "bad/broken", str(second.samples[0].image)):
        assert part in message
    assert "bad/fine" not in message and caught.value.fix
    assert len(kept) == 1
    assert all(torch.equal(value, kept[0][name]) for name, value in still.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in still.model.parameters())


def test_every_phase_begins_with_a_new_optimiser(still: Run) -> None:
    """Adam's first step has the size of the rate; against old moments of the other sign it would be smaller."""
    for sign in (1.0, -1.0):
        losses = WeightedLosses({"a": (Probe(), sign)})
        before = values_of(still.model)["prompts.projection.weight"]
        train(still, plan_for("text", batch_size=8, optimizer=OptimizerPlan(learning_rate=1e-3)), losses)
        change = (values_of(still.model)["prompts.projection.weight"] - before).abs()
        assert_close(change.median(), 1e-3, rtol=1e-3)
