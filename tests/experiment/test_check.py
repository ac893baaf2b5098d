"""What is wrong with an experiment: every fault at once, each with file, table, key, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from aaclip_kit_plugins.adapter import ResidualAdapterOptions
from aaclip_kit_plugins.folder import FolderOptions

from aaclip_kit import StageOptions, UserError
from aaclip_kit.experiment import Experiment, check, read
from aaclip_kit.experiment.schema import ExperimentFile
from aaclip_kit.plugin_host.registry import Component, Plugin, Registry

Faults = Callable[..., list[UserError]]
Load = Callable[..., Experiment]
Edit = Callable[[str, str], None]


def test_a_valid_file_gives_every_chosen_component(checked: Load) -> None:
    experiment = checked()
    assert experiment.backbone.component.name == "open_clip"
    assert list(experiment.stages) == ["text_to_image", "image_to_text", "text_adapter", "vision_adapter"]
    assert all(isinstance(chosen.options, StageOptions) for chosen in experiment.stages.values())
    assert set(experiment.data) == {"train", "test"}
    assert list(experiment.losses["vision"]) == ["segmentation", "detection"]


def test_all_faults_are_shown_at_once(file: Path, edit: Edit, faults: Faults) -> None:
    # Five mistakes; the misspelt table is unknown and missed.
    edit("[data.test]", "[evaluation]\nbach_size = 4\n[data.tset]")
    edit('use = "text_to_image"', 'use = "text_to_image"\nscale = "strong"')
    edit('use = "image_cross_entropy"', 'use = "image_crossentropy"')
    edit("text_batch = 4", "text_batch = 0")
    found = {str(fault.where).removeprefix(f"{file}: "): fault for fault in faults()}
    assert set(found) == {
        "evaluation.bach_size",
        "data.tset",
        "data.test",
        "stages.text_to_image.scale",
        "losses.vision.detection.use",
        "scheduler.text_batch",
    }
    assert "did you mean 'batch_size'?" in str(found["evaluation.bach_size"])
    assert "did you mean 'test'?" in str(found["data.tset"])
    assert found["data.test"].problem == "is missing"
    assert "'strong'" in found["stages.text_to_image.scale"].problem
    assert "did you mean 'image_cross_entropy'?" in str(found["losses.vision.detection.use"])
    assert "greater than or equal to 1 (given: 0)" in found["scheduler.text_batch"].problem
    for fault in found.values():
        assert fault.where is not None and fault.where.startswith(f"{file}: "), "names the file"
        assert fault.fix
        assert "\n" not in fault.problem


def test_a_value_stands_once_and_what_a_key_is_for_tells_how_to_correct_it(faults: Faults) -> None:
    (fault,) = faults("prompts.use=ensemble", 'prompts.abnormal=["bad"]')
    assert fault.problem.count("bad") == 1 and "given" not in fault.problem
    assert fault.fix == "correct it: states of a defective thing in their place"


@pytest.mark.parametrize(
    ("override", "where", "near"),
    [
        ("sed=3", "sed", "seed"),
        ("stagse.a.use=residual_adapter", "stagse", "stages"),
        ("switches.droput=true", "switches.droput", "dropout"),
        ("backbone.modle=x", "backbone.modle", "model"),
        ("stages.text_adapter.wieght=0.1", "stages.text_adapter.wieght", "weight"),
        ("data.train.clases=[a]", "data.train.clases", "classes"),
        ("losses.text.segmentation.gama=1", "losses.text.segmentation.gama", "gamma"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(faults: Faults, override: str, where: str, near: str) -> None:
    (fault,) = faults(override)
    assert fault.problem == "unknown key"
    assert str(fault.where).endswith(f": {where}")
    assert f"did you mean '{near}'?" in str(fault.fix)


def test_an_unknown_key_that_is_near_to_nothing_lists_what_is_known(faults: Faults) -> None:
    (fault,) = faults("init.zzz=1")
    assert fault.fix == "remove it; known keys: checkpoint"


@pytest.mark.parametrize(
    ("override", "places"),
    [
        ("model.projections=backbone", "head.start and prompts.projection"),
        ("model.projection_activation=true", "head.activation"),
    ],
)
def test_a_key_that_has_moved_says_where_it_went(faults: Faults, override: str, places: str) -> None:
    (fault,) = faults(override)
    assert str(fault.where).endswith(f": {override.split('=')[0]}") and fault.problem == "unknown key"
    assert str(fault.fix).startswith(f"give {places} instead; ")


def test_prompts_and_head_have_defaults_that_a_table_without_use_sets_options_of(checked: Load) -> None:
    plain, set_up = checked(), checked("prompts.average=raw", "head.start=backbone")
    for experiment in (plain, set_up):
        assert (experiment.prompts.component.name, experiment.head.component.name) == ("ensemble", "projections")
    assert (plain.prompts.options.average, set_up.prompts.options.average) == ("unit", "raw")  # type: ignore[attr-defined]
    assert (plain.head.options.start, set_up.head.options.start) == ("random", "backbone")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("seed=1.5", "seed"),
        ("seed=true", "seed"),
        ("seed=-1", "seed"),
        ("seed=9223372036854775808", "seed"),
        ('name="a/b"', "name"),
        ('name=""', "name"),
        ("profile=publised", "profile"),
        ("device=gpu", "device"),
        ("device=cuda:x", "device"),
        ("precision=fp8", "precision"),
        ("workers=-1", "workers"),
        ("switches.dropout=1", "switches.dropout"),
        ("switches=3", "switches"),
        ("model.levels=[]", "model.levels"),
        ("model.levels=[1.5]", "model.levels.0"),
        ("model.levels=6", "model.levels"),
        ("augmentation.geometry=1.1", "augmentation.geometry"),
        ("augmentation.translation=1", "augmentation.translation"),
        ("augmentation.views=-1", "augmentation.views"),
        ("cache.features=ram", "cache.features"),
        ("cache.memory_gb=0", "cache.memory_gb"),
        ("cache.disk_gb=inf", "cache.disk_gb"),
        ("cache.disk_gb=nan", "cache.disk_gb"),
        ("cache.memory_gb=nan", "cache.memory_gb"),
        ("training.adapter_gradient_floor=1e999", "training.adapter_gradient_floor"),
        ("losses.text.segmentation.gamma=nan", "losses.text.segmentation.gamma"),
        ("device=cuda:99999", "device"),
        ("checkpoint.every=99999999999 steps", "checkpoint.every"),
        ("compute.fused_residual=true", "compute.fused_residual"),
        ("compute.recompute=true", "compute.recompute"),
        ("compute.memory_gb=0", "compute.memory_gb"),
        ("compute.memory_gb=inf", "compute.memory_gb"),
        ("evaluation.heatmaps=-1", "evaluation.heatmaps"),
        ("stages=3", "stages"),
        ("stages.a=3", "stages.a"),
        ("losses=3", "losses"),
        ("losses.text=3", "losses.text"),
        ("data.train=3", "data.train"),
        ("scheduler=3", "scheduler"),
        ("backbone=open_clip", "backbone"),
        ("stages.text_to_image.scale=10.5", "stages.text_to_image.scale"),
        ("stages.text_to_image.scale=-0.1", "stages.text_to_image.scale"),
        ("stages.text_to_image.scale=nan", "stages.text_to_image.scale"),
        ("stages.text_to_image.tower=vision", "stages.text_to_image.tower"),
        ("stages.text_adapter.after=[-2]", "stages.text_adapter.after.0"),
        ("stages.text_adapter.after=[true]", "stages.text_adapter.after.0"),
        ("stages.text_adapter.after=[]", "stages.text_adapter.after"),
        ("backbone.image_size=0", "backbone.image_size"),
        ("backbone.image_size=1e3", "backbone.image_size"),
        ("scheduler.text_epochs=[1]", "scheduler"),
    ],
)
def test_a_wrong_type_or_range_is_refused(faults: Faults, override: str, where: str) -> None:
    (fault,) = faults(override)
    assert str(fault.where).endswith(f"small.toml: {where}")
    assert len(fault.problem) > 10


@pytest.mark.parametrize("table", ["backbone", "scheduler", "data"])
def test_a_missing_table_is_named_once(file: Path, registry: Registry, table: str) -> None:
    tables = read(file)
    del tables[table]
    with pytest.raises(UserError) as caught:
        check(tables, registry, "f.toml")
    (fault,) = caught.value.faults
    assert (fault.where, fault.problem) == (f"f.toml: {table}", "is missing")
    assert str(fault.fix).startswith("add it: ")
    assert fault.fix is not None and len(fault.fix) > 20


def test_an_empty_file_names_everything_that_is_missing(registry: Registry) -> None:
    with pytest.raises(UserError) as caught:
        check({}, registry, "f.toml")
    assert [fault.where for fault in caught.value.faults] == [
        f"f.toml: {key}" for key in ("name", "backbone", "scheduler", "data")
    ]


def test_a_component_table_without_use_lists_what_there_is(faults: Faults, edit: Edit) -> None:
    edit('use = "feedback"\n', "")
    (fault,) = faults()
    assert (fault.problem, fault.fix) == ("is missing", "name the scheduler; known: base, feedback, none, single, v2")
    (fault,) = faults("scheduler.use=3")
    assert fault.problem == "there is no scheduler called '3'"


@pytest.mark.parametrize(
    ("override", "kind", "near"),
    [
        ("backbone.use=openclip", "backbone", "open_clip"),
        ("stages.text_adapter.use=residual_adaptor", "attention-stage", "residual_adapter"),
        ("scheduler.use=feed_back", "scheduler", "feedback"),
        ("data.test.use=folders", "data-set", "folder"),
        ("losses.text.segmentation.use=segmentaton", "loss", "segmentation"),
        ("prompts.use=ensembl", "prompts", "ensemble"),
        ("head.use=projection", "head", "projections"),
    ],
)
def test_an_unknown_component_is_refused_with_the_nearest_name(
    faults: Faults, override: str, kind: str, near: str
) -> None:
    (fault,) = faults(override)
    key, _, name = override.partition("=")
    assert fault.problem == f"there {'are' if kind == 'prompts' else 'is'} no {kind} called '{name}'"
    assert str(fault.where).endswith(f": {key}")
    assert f"did you mean '{near}'? known: " in str(fault.fix)


def test_a_component_of_another_kind_is_unknown(faults: Faults) -> None:
    (fault,) = faults("scheduler.use=folder")
    assert "no scheduler called 'folder'" in fault.problem


@pytest.mark.parametrize("name", ["a.b", "a b", "", "_"])
def test_names_of_stages_and_losses_are_plain(faults: Faults, file: Path, edit: Edit, name: str) -> None:
    edit("[stages.text_adapter]", f'[stages."{name}"]')
    (fault,) = faults()
    assert f"the name '{name}' may hold letters" in fault.problem
    assert str(fault.where).endswith(": stages")


def test_a_relative_path_and_a_home_are_paths(checked: Load) -> None:
    experiment = checked("init.checkpoint=~/a.safetensors", "data.train.root=x/y")
    assert experiment.file.init.checkpoint == Path.home() / "a.safetensors"
    options = experiment.data["train"][0].options
    assert isinstance(options, FolderOptions)
    assert options.root == Path("x/y")


@pytest.mark.parametrize(("text", "weight"), [("0", 0.0), ("3", 3.0), ("0.1", 0.1)])
def test_the_weight_of_a_loss_is_the_engines(checked: Load, text: str, weight: float) -> None:
    loss = checked(f"losses.vision.detection.weight={text}").losses["vision"]["detection"]
    assert loss.weight == weight
    assert isinstance(loss.weight, float)
    assert not hasattr(loss.options, "weight")


def test_weights_are_one_unless_given(checked: Load) -> None:
    losses = checked().losses
    assert losses["text"]["orthogonality"].weight == 0.1
    assert losses["text"]["segmentation"].weight == losses["vision"]["detection"].weight == 1.0


@pytest.mark.parametrize("text", ["-0.1", "inf", "nan", "true", "much", "[1]"])
def test_a_weight_that_is_none_is_refused(faults: Faults, text: str) -> None:
    (fault,) = faults(f"losses.vision.detection.weight={text}")
    assert "is no weight" in fault.problem
    assert str(fault.where).endswith(": losses.vision.detection.weight")
    assert fault.fix == "give a finite number of at least 0"


def test_the_weight_of_an_adapter_is_its_own(checked: Load) -> None:
    options = checked("stages.text_adapter.weight=0.3").stages["text_adapter"].options
    assert isinstance(options, ResidualAdapterOptions)
    assert options.weight == 0.3


def test_stage_options_without_a_site_are_the_plugins_fault(file: Path, registry: Registry) -> None:
    plugin = Plugin("bad", "bad_module", "bad-package", "1")
    options = registry.get("loss", "focal").options
    broken = Registry(dict(registry.components))
    broken.components["attention-stage", "bad"] = Component("attention-stage", "bad", print, options, plugin)
    with pytest.raises(UserError) as caught:
        check(read(file, ["stages.extra.use=bad"]), broken, "f.toml")
    (fault,) = caught.value.faults
    assert "bad-package 1 (bad_module)" in fault.problem
    assert "StageOptions" in str(fault.fix)


def test_every_key_of_every_table_has_a_description(registry: Registry) -> None:
    """Descriptions stand in messages as what to do."""
    models = [
        component.options for component in registry.components.values() if component.plugin.package == "aaclip-kit"
    ]
    while models:
        model = models.pop()
        for name, info in model.model_fields.items():
            assert info.description, f"{model.__name__}.{name} has no description"
    pending = [ExperimentFile]
    while pending:
        model = pending.pop()
        for name, info in model.model_fields.items():
            assert info.description, f"{model.__name__}.{name} has no description"
            if isinstance(info.annotation, type) and hasattr(info.annotation, "model_fields"):
                pending.append(info.annotation)
