"""Gradient dilution: known ratios, pairs, and what each option changes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, StageOptions, UserError
from aaclip_kit.checkpoints.checkpoint import save
from aaclip_kit.checkpoints.provenance import Metadata
from aaclip_kit.experiment import Experiment, load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble, build_phase
from aaclip_kit.studies.gradient_dilution import Dilution, as_record, dilution_svg, measure_dilution
from aaclip_kit.studies.stand_ins import Setting, standing_in, subjects_of, variant
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import StepCallback

from ..build import build, plan_for, text_of, train
from ..helpers import assert_close

BEHIND = ("stages.image_to_text.after=[3]", "model.levels=[4, 8]")
"""The vision stage between the adapters and all that the losses see."""


class Fading(AttentionStage):
    """Lets tokens through, and `scale` of their gradient."""

    context_kind = "text"

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.unused = nn.Parameter(torch.zeros(2))

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens.detach() + self.scale * (tokens - tokens.detach())


class Learning(Fading):
    """The same with a scale that is learnt, and begins at the option."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options.scale)
        self.scale = nn.Parameter(torch.tensor(options.scale))  # type: ignore[assignment]


def loaded(path: Path, *overrides: str, **factories: Callable[..., AttentionStage]) -> Experiment:
    """The experiment, with other stages made under some names."""
    experiment = load(path, discover(), overrides)
    stages = dict(experiment.stages)
    for name, factory in factories.items():
        stages[name] = replace(stages[name], component=replace(stages[name].component, factory=factory))
    return replace(experiment, stages=stages)


def ratios(found: Dilution, adapter: str = "all", tower: str | None = None) -> dict[tuple[Any, ...], float | None]:
    """Ratio of an adapter by stages and setting."""
    return {
        (*subject.stages, setting): found.ratios(subject, setting)[adapter].value
        for subject, setting in found.on
        if tower in (None, subject.tower)
    }


def test_a_stage_of_scale_zero_changes_nothing(small_experiment: Path) -> None:
    found = measure_dilution(loaded(small_experiment), [0.0], batches=2, inits=2)
    for subject, setting in found.on:
        if setting.scale == 0.0:
            for ratio in found.ratios(subject, setting).values():
                assert_close([ratio.value, ratio.low, ratio.high, *ratio.by_init], [1.0] * 5)
    assert {setting.scale for _, setting in found.on} == {0.0, 0.1}, "the file's own setting is always measured"


def test_a_stage_that_lets_a_known_share_through(small_experiment: Path) -> None:
    """It stands after all adapters, so the share is the ratio of every one of them, whatever the other settings."""
    experiment = loaded(small_experiment, *BEHIND, image_to_text=lambda options, setting: Fading(options.scale))
    found = measure_dilution(experiment, [0.37, 0.0], batches=2, inits=2)
    for subject, setting in found.on:
        if subject.tower == "vision":
            for ratio in found.ratios(subject, setting).values():
                assert_close([ratio.value, ratio.low, ratio.high], [setting.scale] * 3, rtol=1e-4)


def test_gradients_that_are_not_finite_have_no_ratio(small_experiment: Path) -> None:
    experiment = loaded(small_experiment, *BEHIND, image_to_text=lambda *_: Fading(math.nan))
    record = as_record(measure_dilution(experiment, [1.0], batches=1, inits=1))
    vision = [measured for measured in record["measured"] if measured["tower"] == "vision"]
    assert vision and all(measured["on"]["all"] == [[None]] for measured in vision)
    assert all(measured["ratio"]["all"]["value"] is None for measured in vision)
    assert "NaN" not in json.dumps(record, allow_nan=False)
    assert dilution_svg(record)


def test_norms_are_those_that_a_run_reports_at_its_first_steps(small_experiment: Path) -> None:
    """At rate 0 the steps of a phase are gradients of the same weights."""
    still = ("switches.dropout=false", "augmentation.geometry=0.0", "augmentation.color=0.0")
    experiment = loaded(small_experiment, *still)
    found = measure_dilution(experiment, [0.1], batches=2, inits=1)
    seen = {tower: sorted(norm["all"] for norm in off[0]) for tower, off in found.off.items()}
    for tower in ("text", "vision"):
        run = assemble(experiment)
        opening = found.openings[tower]
        phase = replace(opening.plan, attention=False, optimizer=replace(opening.plan.optimizer, learning_rate=0.0))
        steps: list[Any] = []
        train_phase(build_phase(run, phase, opening.loop, opening.number, frozenset()), StepCallback(steps.append))
        assert_close(sorted(step.gradient_norms[f"{tower}_adapter"] for step in steps), seen[tower])


def test_all_adapters_are_the_root_of_the_sum_of_squares(small_experiment: Path) -> None:
    found = measure_dilution(loaded(small_experiment), [1.0], batches=1, inits=1)
    for norms in (found.off["text"][0][0], next(iter(found.on.values()))[0][0]):
        assert list(norms) == ["all", "text_adapter.0", "text_adapter.1", "text_adapter.2"]
        assert norms["all"] == pytest.approx(math.sqrt(sum(norms[f"text_adapter.{n}"] ** 2 for n in range(3))))


def test_every_setting_has_an_effect_and_is_measured_once(small_experiment: Path) -> None:
    found = measure_dilution(loaded(small_experiment), [1.0, 0.1, 1.0], batches=1, inits=1)
    text, vision = ratios(found, tower="text"), ratios(found, tower="vision")
    assert {key[1] for key in text} == {Setting(scale, m, None) for scale in (1.0, 0.1) for m in (True, False)}
    assert len(vision) == 8
    for several in (text, vision):
        assert len(set(several.values())) == len(several)


def test_dropout_is_the_switchs_and_the_same_in_both_of_a_pair(small_experiment: Path) -> None:
    dropping = "stages.text_to_image.dropout=0.5", "stages.image_to_text.dropout=0.5"
    on, off = (
        measure_dilution(loaded(small_experiment, *dropping, f"switches.dropout={switch}"), [1.0], batches=2, inits=1)
        for switch in ("true", "false")
    )
    assert on.off == off.off
    assert all(on.on[pair] != off.on[pair] for pair in on.on)


@pytest.mark.slow
def test_a_measurement_is_repeatable_and_its_initialisations_are_those_of_the_next_seeds(
    small_experiment: Path,
) -> None:
    experiment = loaded(small_experiment)
    found, again = (measure_dilution(experiment, [1.0], batches=1, inits=2) for _ in range(2))
    assert as_record(found) == as_record(again)
    first, second = found.off["text"]
    assert first != second, "each initialisation has weights and batches of its own"
    moved = loaded(small_experiment, "seed=4")
    assert measure_dilution(moved, [1.0], batches=1, inits=1).off["text"][0] == second


@pytest.mark.slow
def test_the_first_batches_come_from_as_many_epochs_as_it_takes(small_experiment: Path) -> None:
    found = measure_dilution(loaded(small_experiment), [1.0], batches=5, inits=1)
    norms = [norm["all"] for norm in found.off["text"][0]]
    assert len(set(norms)) == 5, "an epoch has two batches, and augmentation differs in each"


def test_weights_come_from_the_checkpoint_and_what_it_lacks_starts_fresh(
    small_experiment: Path, tmp_path: Path
) -> None:
    run = build(small_experiment)
    save(run.model, tmp_path / "whole.safetensors", Metadata())
    whole = loaded(small_experiment, f'init.checkpoint="{tmp_path / "whole.safetensors"}"')
    found = measure_dilution(whole, [1.0], batches=1, inits=2)
    assert found.fresh_stages == ()
    before = measure_dilution(loaded(small_experiment), [1.0], batches=1, inits=1)
    assert found.off["text"][0] != before.off["text"][0]
    first, second = (assemble(replace(whole, file=whole.file.model_copy(update={"seed": s}))) for s in (3, 4))
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other), "nothing was fresh, so the initialisations share all weights"


def test_several_stages_are_measured_together_and_one_by_one(small_experiment: Path) -> None:
    second = "stages.second.use=image_to_text", "stages.second.after=[1, 3]", "stages.second.scale=0.5"
    found = measure_dilution(loaded(small_experiment, *second), [1.0], batches=1, inits=1)
    subjects = {subject.stages: subject for subject, _ in found.on if subject.tower == "vision"}
    assert list(subjects) == [("image_to_text", "second"), ("image_to_text",), ("second",)]
    assert subjects["image_to_text", "second"].own == Setting(None, True, "unit"), "the file gives them two scales"
    assert subjects["second",].own == Setting(0.5, True, "unit")
    values = ratios(found, tower="vision")
    assert len(set(values.values())) == len(values) == 5 + 5 + 5


def test_a_stage_without_the_options_is_measured_on_and_off(small_experiment: Path) -> None:
    experiment = loaded(small_experiment, *BEHIND, image_to_text=lambda *_: Fading(0.25))
    chosen = experiment.stages["image_to_text"]
    options = StageOptions(tower="vision", after=(3,))
    experiment = replace(experiment, stages={**experiment.stages, "image_to_text": replace(chosen, options=options)})
    found = measure_dilution(experiment, [1.0, 0.3], batches=1, inits=1)
    assert found.unvaried == ("image_to_text.scale", "image_to_text.norm_matched")
    vision = ratios(found, tower="vision")
    assert {key[1] for key in vision} == {Setting(None, None, "unit"), Setting(None, None, "raw")}
    assert_close(list(vision.values()), [0.25, 0.25], rtol=1e-4)


def test_a_scale_that_is_learnt_begins_where_the_setting_says(small_experiment: Path) -> None:
    experiment = loaded(small_experiment, *BEHIND, image_to_text=Learning)
    vision = ratios(measure_dilution(experiment, [1.0, 0.3], batches=1, inits=1), tower="vision")
    assert {key[1].scale for key in vision} == {1.0, 0.3, 0.1}
    assert_close(list(vision.values()), [key[1].scale for key in vision], rtol=1e-4)


def test_a_stage_in_another_setting_shares_the_weights(small_experiment: Path) -> None:
    run = build(small_experiment)
    subject = subjects_of(run, [0.3])[1]
    model = run.model
    kept = [stage for _, _, stage in model.slots.of("vision")]
    with standing_in(run, "vision", variant(run, subject, Setting(0.3, False, "raw")), "raw"):
        within = text_of(model).context_form
        assert within == "raw"
        for (_, name, stage), old in zip(model.slots.of("vision"), kept, strict=True):
            assert (stage is old) == (name == "vision_adapter")
            assert all(one is other for one, other in zip(stage.parameters(), old.parameters(), strict=True))
    assert text_of(model).context_form == "unit"
    assert all(one is other for (_, _, one), other in zip(model.slots.of("vision"), kept, strict=True))
    train(run, plan_for("vision"))


def test_attention_that_begins_in_loop_two_is_measured_as_it_begins(small_experiment: Path) -> None:
    v2 = ("scheduler.use=v2", "scheduler.loops=2", "scheduler.attention_from_loop=2")
    found = measure_dilution(loaded(small_experiment, *v2), [1.0], batches=1, inits=1)
    text, vision = found.openings["text"], found.openings["vision"]
    assert (text.loop, text.plan.features, text.attending) == (2, "trained", frozenset({"text"}))
    assert (vision.loop, vision.attending) == (2, frozenset({"text", "vision"}))
    never = measure_dilution(loaded(small_experiment, "scheduler.attention=false"), [1.0], batches=1, inits=1)
    assert never.openings["text"].loop == 1
    assert all(value != 1.0 for value in ratios(never).values())


def test_a_file_without_cross_attention_or_without_adapters_has_nothing_to_measure(small_experiment: Path) -> None:
    text = small_experiment.read_text()
    start, end = text.index("[stages.text_to_image]"), text.index("[stages.text_adapter]")
    small_experiment.write_text(text[:start] + text[end:])
    with pytest.raises(UserError, match="nothing to measure"):
        measure_dilution(loaded(small_experiment), [1.0], batches=1, inits=1)
    start, end = text.index("[stages.text_adapter]"), text.index("[losses.text.segmentation]")
    small_experiment.write_text(text[:start] + text[end:])
    with pytest.raises(UserError, match="nothing to measure"):
        measure_dilution(loaded(small_experiment), [1.0], batches=1, inits=1)


def test_no_random_state_of_a_gpu_is_asked_for(small_experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[object]()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", asked.append)
    found = measure_dilution(loaded(small_experiment, "device=cpu"), [1.0], batches=1, inits=1)
    assert found.openings.keys() == {"text", "vision"}
    assert asked == []


def test_progress_counts_every_gradient(small_experiment: Path) -> None:
    told: list[tuple[int, int]] = []
    measure_dilution(loaded(small_experiment), [0.1], batches=2, inits=2, advance=lambda *numbers: told.append(numbers))
    settings = 2 + 4
    whole = 2 * 2 * (2 + settings)
    assert told == [(number, whole) for number in range(1, whole + 1)]
