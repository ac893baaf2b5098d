"""Every shipped experiment file is valid; the small ones run to the end, the large ones assemble and take steps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aaclip_kit_plugins.synthetic import TEST_SURFACES, TRAIN_SURFACES, VALIDATION_SURFACES
from aaclip_kit_plugins.synthetic.photographs import materials_of

from aaclip_kit import Backbone, TowerName
from aaclip_kit.contracts.backbone import text_tower
from aaclip_kit.data.loader import TrainBatches
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.experiment import Experiment, load
from aaclip_kit.experiment.toml_file import read_toml
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import BANK
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.training.loop_plans import attending_after, plan_ahead
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import run_file
from ..conftest import write_class

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments"
SHIPPED = sorted([*FOLDER.glob("*.toml"), *(ROOT / "benchmarks").glob("*.toml")])
FILES = sorted(path.stem for path in FOLDER.glob("*.toml") if "variants" not in read_toml(path))
LARGE = [name for name in FILES if "vitl" in name]
SINGLE_EPOCHS = {
    "base": ["text_epochs=1", "image_epochs=1"],
    "cross_attention": ["text_epochs=[1]", "image_epochs=[1]"],
    "feedback": ["text_epochs=[1, 1, 1]", "image_epochs=[1, 1, 1]"],
    "feedback_v2": ["text_epochs=1", "image_epochs=1"],
    "photographs": ["text_epochs=[1, 1, 1]", "image_epochs=[1, 1, 1]"],
}
FEW = {
    ("train", 0): sorted(TRAIN_SURFACES)[:2],
    ("train", 1): sorted(materials_of("train"))[:2],
    ("validation", 0): sorted(VALIDATION_SURFACES)[:2],
    ("validation", 1): sorted(materials_of("validation"))[:2],
    ("test", 0): sorted(TEST_SURFACES)[:2],
    ("test", 1): sorted(materials_of("test"))[:2],
}
"""Classes of each role's data sets, drawn ones and photographs."""
LOOPS = {"base": 1, "cross_attention": 1, "feedback": 3, "feedback_v2": 3, "photographs": 3}


def test_every_file_is_small_or_large() -> None:
    assert sorted([*SINGLE_EPOCHS, "teach", *LARGE]) == FILES


def strings(value: object) -> Iterator[str]:
    """Every text in a TOML table, and what stands behind the first = of each."""
    if isinstance(value, str):
        yield from (value, value.partition("=")[2])
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from strings(one)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_file_names_nothing_outside_the_clone(path: Path) -> None:
    outside = [text for text in strings(read_toml(path)) if not (path.parent / text).resolve().is_relative_to(ROOT)]
    assert not outside


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_valid_and_named_as_its_file(name: str) -> None:
    experiment = load(FOLDER / f"{name}.toml", discover())
    assert experiment.file.name == name
    assert experiment.file.profile == ("published" if name.startswith("published") else "corrected")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of drawings that all runs share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AAKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
@pytest.mark.parametrize("name", SINGLE_EPOCHS)
def test_a_small_experiment_runs_to_the_end(name: str, tmp_path: Path) -> None:
    own = tmp_path / "my_images"
    write_class(own, "plate", 0, 0)
    parts = [(f"data.{role}.{number}", classes) for (role, number), classes in FEW.items()]
    if name == "photographs":
        parts = [part for part in parts if "test" not in part[0]]
    few = [f"{where}.images_per_class=2" for where, _ in parts]
    few += [f"{where}.classes={json.dumps(classes)}" for where, classes in parts]
    few += [f"data.test.root={own}"] if name == "photographs" else []
    short = [f"scheduler.{key}" for key in SINGLE_EPOCHS[name]]
    metrics, watcher = run_file(FOLDER / f"{name}.toml", tmp_path / "run", *few, *short)
    phases = [(loop, tower) for loop in range(1, LOOPS[name] + 1) for tower in ("text", "vision")]
    assert watcher.phases == phases
    assert metrics == json.loads((tmp_path / "run" / "metrics.json").read_text())
    for found in (metrics["before"], *metrics["loops"]):
        tested = ["plate"] if name == "photographs" else sorted(FEW["test", 0] + FEW["test", 1])
        assert sorted(found["classes"]) == tested
        assert set(found.get("sets", ())) == (set() if name == "photographs" else {"synthetic", "blended"})
        assert all(0 <= value <= 1 for value in found["mean"].values())
        assert found["mean"]["pixel_auroc"] == pytest.approx(_mean(found["classes"], "pixel_auroc"), abs=1e-12)
    areas = [found["mean"]["pixel_auroc"] for found in (metrics["before"], *metrics["loops"])]
    assert len(set(areas)) == len(areas), "every loop changes what is scored"
    assert set(metrics["rules"]) == {"darkness", "colour_distance", "patch_distance"}
    assert {(step.loop, step.phase) for step in watcher.steps} == set(phases)
    assert all(math.isfinite(step.loss) and step.loss > 0 for step in watcher.steps)
    checkpoints = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert checkpoints == {f"loop_{loop}.safetensors" for loop in range(1, LOOPS[name] + 1)}


@pytest.mark.usefixtures("drawn")
@pytest.mark.slow
def test_the_file_of_teach_remembers_and_trains_nothing(tmp_path: Path) -> None:
    few = ["data.train.images_per_class=2", "data.reference.images_per_class=4", "data.reference.shots=2"]
    few += ["data.test.images_per_class=2"]
    classes = json.dumps(FEW["test", 0])
    few += [f"data.{role}.classes={classes}" for role in ("reference", "test")]
    metrics, watcher = run_file(FOLDER / "teach.toml", tmp_path / "run", *few)
    assert (watcher.phases, metrics["loops"]) == ([], [])
    assert sorted(metrics["before"]["classes"]) == FEW["test", 0]
    checkpoints = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert checkpoints == {"loop_0.safetensors", BANK}


def _mean(classes: dict[str, dict[str, float]], metric: str) -> float:
    return sum(values[metric] for values in classes.values()) / len(classes)


class LastBackbone:
    """A factory that builds a backbone only where its options differ from the last one's: ViT-L takes 1.7 GB."""

    def __init__(self, experiment: Experiment) -> None:
        self.component = experiment.backbone.component
        self.built: tuple[object, Backbone] | None = None

    def __call__(self, options: object) -> Backbone:
        if self.built is None or self.built[0] != options:
            self.built = None
            self.built = (options, self.component.build(options))
        return self.built[1]


@pytest.fixture(scope="module")
def backbones() -> Iterator[LastBackbone]:
    yield LastBackbone(load(FOLDER / f"{LARGE[0]}.toml", discover()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small folder of real files for each role."""
    root = tmp_path_factory.mktemp("folders")
    for seed, role in enumerate(("train", "test")):
        write_class(root / role, f"{role}_cloth", seed, seed)
    return root


def large(name: str, folders: Path, backbones: LastBackbone) -> Run:
    """The file at 70 px with random weights, on the small folders."""
    overrides = ["backbone.pretrained=none", "backbone.image_size=70", "workers=0", "device=cpu"]
    for role in ("train", "test"):
        overrides += [f"data.{role}.use=folder", f"data.{role}.root={folders / role}", f"data.{role}.real_names={{}}"]
    experiment = load(FOLDER / f"{name}.toml", discover(), overrides)
    shared = replace(experiment.backbone, component=replace(experiment.backbone.component, factory=backbones))
    return assemble(replace(experiment, backbone=shared))


# Sorted, so that files with the same backbone follow one another.
@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_experiment_takes_a_step_of_each_phase(name: str, folders: Path, backbones: LastBackbone) -> None:
    run = large(name, folders, backbones)
    assert (run.model.backbone.vision.width, text_tower(run.model.backbone).width) == (1024, 768)
    assert run.model.levels == (6, 12, 18, 24)
    train = run.data.sets["train"].samples
    plans = plan_ahead(run.scheduler)
    assert [phase.epochs for plan in plans for phase in plan.phases] == [5, 20, 3, 10, 2, 5]
    assert [(phase.train, phase.batch_size) for phase in plans[0].phases] == [("text", 16), ("vision", 2)]
    attending: frozenset[TowerName] = frozenset()
    steps: list[Step] = []
    for number, plan in enumerate((*plans[0].phases, plans[1].phases[0])):
        attending = attending_after(plan, attending)
        batches = TrainBatches(
            (train[0], train[-1]),
            run.pixels,
            run.experiment.file.augmentation,
            augment="geometry",
            batch_size=plan.batch_size,
            key=(number,),
        )
        phase = Phase(
            model=run.model, losses=run.losses[plan.train], plan=replace(plan, epochs=1), batches=batches,
            compute_device=run.compute_device, loop=1, attending=attending,
        )  # fmt: skip
        train_phase(phase, StepCallback(steps.append))
    assert [step.phase for step in steps] == ["text", "vision", "text"]
    assert _levels(steps[0]) == ({24} if name.startswith("published") else {6, 12, 18, 24})
    assert _levels(steps[1]) == {6, 12, 18, 24}
    _score_one(run, attending)


def _levels(step: Step) -> set[int]:
    return {int(term.split("level_")[1].split("_")[0]) for term in step.terms if "level_" in term}


def _score_one(run: Run, attending: frozenset[TowerName]) -> None:
    file, data = run.experiment.file, run.data.sets["test"]
    evaluator = Evaluator(run.model, run.compute_device, run.pixels, table=file.evaluation, switches=file.switches)
    one = replace(data, samples=data.samples[:1])
    (found,) = evaluator.scored_batches(one, "test_cloth", attending, trained=True)
    assert found.maps.shape == (1, 70, 70)
