"""From a checked file to a run: what is built, from which seed, and what is refused before anything is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aaclip_kit import AttentionStage, LoopPlan, LoopRecord, UserError
from aaclip_kit.checkpoints.checkpoint import save, trained_state
from aaclip_kit.checkpoints.provenance import Metadata
from aaclip_kit.experiment import Experiment, load, resolved_toml
from aaclip_kit.model.build import default_levels
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.training.loop_plans import plan_ahead

from ..build import head_of, plan_for, values_of
from ..conftest import write_class


@pytest.fixture
def file(small_experiment: Path) -> Path:
    return small_experiment


def assembled(file: Path, *overrides: str) -> Run:
    return assemble(load(file, discover(), overrides))


REFUSED: dict[str, tuple[list[str], str, str, str]] = {
    "a block that is not there": (
        ["stages.text_adapter.after=[0, 4]"],
        "stages.text_adapter.after",
        "no block 4: the text tower has blocks 0 to 3",
        "name blocks that the backbone has",
    ),
    "a vision block that is not there": (
        ["stages.vision_adapter.after=[8]"],
        "stages.vision_adapter.after",
        "no block 8: the vision tower has blocks 0 to 7",
        "name blocks that the backbone has",
    ),
    "a block twice": (
        ["stages.text_adapter.after=[1, 1]"],
        "stages.text_adapter.after",
        "names a block twice",
        "each block once",
    ),
    "heads that do not divide": (
        ["stages.text_to_image.heads=3"],
        "heads",
        "3 heads do not divide the text width 16",
        "1, 2, 4, 8",
    ),
    "a stage called as torch's own": (
        ["stages.values.use=residual_adapter", "stages.values.tower=text", "stages.values.after=[3]"],
        "stages.values",
        "cannot have this name",
        "call it values_stage",
    ),
    "level 0": (
        ["model.levels=[0, 4]"],
        "model.levels",
        "[0, 4] are no levels of a vision tower of 8 blocks",
        "ascending numbers",
    ),
    "a level beyond the depth": (["model.levels=[4, 9]"], "model.levels", "[4, 9] are no levels", "between 1 and 8"),
    "levels that descend": (["model.levels=[4, 2]"], "model.levels", "[4, 2] are no levels", "ascending numbers"),
    "a level twice": (["model.levels=[4, 4]"], "model.levels", "[4, 4] are no levels", "ascending numbers"),
    "no block after the only level": (
        ["model.levels=[8]", "switches.trained_context=one_block_more"],
        "model.levels",
        "no block after level 8",
        "below the last block",
    ),
    "no losses": (["losses.text={}"], "losses.text", "no loss here depends on", "level_probabilities"),
    "losses that train nothing": (
        ["losses.vision.segmentation.use=orthogonality", "losses.vision.detection.use=orthogonality"],
        "losses.vision",
        "no loss here depends on what the phase trains (vision)",
        "detection_logits",
    ),
    "train and test data that share images": (
        ['data.test.classes=["red_cloth"]'],
        "data.train / data.test",
        "share 8",
        "allow_overlap",
    ),
    "no name": (
        ["data.test.real_names={green_wood=''}"],
        "real_names.green_wood",
        "real name '', which no prompt can use",
        "real_names",
    ),
    "a name that no prompt can use": (
        ['data.test.real_names.green_wood="?!"'],
        "real_names.green_wood",
        "which no prompt can use",
        "real_names",
    ),
    "a name beyond the context length": (
        [f'data.test.real_names.green_wood="{"a " * 80}long"'],
        "real_names.green_wood",
        "the model reads 75",
        "shorter real name",
    ),
    "conditioning without a stage that conditions": (
        [
            *(f"stages.text_to_image.{key}" for key in ("use=residual_adapter", "tower=text", "after=[3]")),
            "evaluation.text_conditioning=image",
        ],
        "evaluation.text_conditioning",
        "no stage of the text tower attends to the image",
        "",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_with_its_place_and_a_way_out(file: Path, case: str) -> None:
    overrides, where, problem, fix = REFUSED[case]
    with pytest.raises(UserError) as caught:
        assembled(file, *overrides)
    assert problem in caught.value.problem
    assert where in (caught.value.where or "")
    assert caught.value.fix and fix in caught.value.fix


def test_a_class_of_two_data_sets_has_one_real_name(file: Path, tmp_path: Path) -> None:
    write_class(tmp_path / "more", "red_cloth", 0, seed=7)
    other = ["data.test.classes=[red_cloth]", f"data.test.root={tmp_path / 'more'}"]
    assert assembled(file, *other).data.real_names == {"red_cloth": "red cloth"}
    with pytest.raises(UserError, match=r"'red cloth' in data\.train and 'rug' here") as caught:
        assembled(file, *other, "data.test.real_names.red_cloth=rug")
    assert caught.value.where == "data.test.real_names"


def test_a_data_set_must_name_its_classes(file: Path) -> None:
    experiment = load(file, discover())
    (chosen,) = experiment.data["test"]
    nameless = replace(chosen.component.build(chosen.options), real_names={})
    component = replace(chosen.component, factory=lambda options: nameless)
    broken = replace(experiment, data={**experiment.data, "test": (replace(chosen, component=component),)})
    with pytest.raises(UserError, match="no real name for its class 'green_wood'"):
        assemble(broken)


class LooksAtText(AttentionStage):
    context_kind = "text"

    def forward(self, tokens, context):  # type: ignore[no-untyped-def]
        return tokens


def test_a_text_stage_cannot_attend_to_the_text_context(file: Path) -> None:
    experiment = load(file, discover())
    chosen = experiment.stages["text_to_image"]
    component = replace(chosen.component, factory=lambda options, setting: LooksAtText())
    stages = {**experiment.stages, "text_to_image": replace(chosen, component=component)}
    with pytest.raises(UserError, match="cannot attend to the text context") as caught:
        assemble(replace(experiment, stages=stages))
    assert caught.value.where == "stages.text_to_image"


@pytest.mark.parametrize(
    ("depth", "levels"), [(24, (6, 12, 18, 24)), (12, (3, 6, 9, 12)), (8, (2, 4, 6, 8)), (2, (1, 2)), (1, (1,))]
)
def test_default_levels_are_the_quarters_of_the_depth(depth: int, levels: tuple[int, ...]) -> None:
    assert default_levels(depth) == levels


def test_levels_in_force_stand_in_the_resolved_copy(file: Path) -> None:
    run = assembled(file)
    assert run.model.levels == (2, 4, 6, 8)
    assert run.experiment.file.model.levels == (2, 4, 6, 8)
    assert "levels = [\n    2,\n    4,\n    6,\n    8,\n]" in resolved_toml(run.experiment)
    chosen = assembled(file, "model.levels=[3, 8]")
    assert chosen.model.levels == (3, 8) and set(head_of(chosen.model).segmentation) == {"3", "8"}


def test_the_seed_sets_every_trained_weight_and_no_frozen_one(file: Path) -> None:
    first, same, other = (values_of(assembled(file, f"seed={seed}").model) for seed in (3, 3, 4))
    for name, value in first.items():
        assert torch.equal(value, same[name])
        fixed = name.startswith("backbone.") or name.endswith(".bias")
        assert torch.equal(value, other[name]) == fixed, name


def test_stages_act_in_the_order_of_the_file(file: Path) -> None:
    order = [(block, name) for block, name, _ in assembled(file).model.slots.of("text")]
    assert order == [(0, "text_to_image"), (0, "text_adapter"), (1, "text_adapter"), (2, "text_adapter")]


def test_every_stage_is_told_the_widths(file: Path) -> None:
    seen = []
    experiment = load(file, discover())

    def watched(name: str) -> Experiment:
        chosen = experiment.stages[name]

        def build(options, setting):  # type: ignore[no-untyped-def]
            seen.append(setting)
            return chosen.component.build(options, setting)

        component = replace(chosen.component, factory=build)
        return replace(experiment, stages={**experiment.stages, name: replace(chosen, component=component)})

    assemble(watched("image_to_text"))
    (setting,) = seen
    assert (setting.tower, setting.after, setting.width) == ("vision", 0, 32)
    assert (setting.text_width, setting.vision_width) == (16, 32)
    assert (setting.image_context_width, setting.text_width) == (24, 16)


def test_the_run_carries_data_pixels_and_fingerprints(file: Path) -> None:
    run = assembled(file)
    assert set(run.data.sets) == set(run.data.fingerprints) == {"train", "test"}
    assert run.data.real_names == {"red_cloth": "red cloth", "green_wood": "green wood"}
    assert (run.pixels.size, run.pixels.mean, run.pixels.std) == (32, (0.5,) * 3, (0.25,) * 3)
    assert run.fresh_stages is None


def test_a_checkpoint_that_does_not_fit_stops_the_run_or_is_ignored_by_the_switch(file: Path, tmp_path: Path) -> None:
    first = assembled(file, "seed=4")
    save(first.model, tmp_path / "loop_1.safetensors", Metadata())
    start = f"init.checkpoint={tmp_path / 'loop_1.safetensors'}"
    loaded = trained_state(assembled(file, start).model)
    assert all(torch.equal(value, loaded[name]) for name, value in trained_state(first.model).items())
    fewer = [start, "stages.text_adapter.after=[0, 1]"]
    with pytest.raises(UserError, match="does not fit"):
        assembled(file, *fewer)
    ignored = assembled(file, *fewer, "switches.checkpoint_mismatch=ignore")
    fresh = trained_state(assembled(file, "stages.text_adapter.after=[0, 1]").model)
    assert ignored.fresh_stages is None
    assert all(torch.equal(value, fresh[name]) for name, value in trained_state(ignored.model).items())


class Endless:
    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        return LoopPlan((plan_for("text"),))


def test_planning_ahead_ends_with_the_scheduler_or_after_a_hundred_loops(file: Path) -> None:
    assert len(plan_ahead(assembled(file).scheduler)) == 2
    assert len(plan_ahead(Endless())) == 100
