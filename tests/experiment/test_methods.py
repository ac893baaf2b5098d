"""Experiment files of published methods: valid; the small ones run to the end, the large ones take a step and score."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aaclip_kit import TowerName
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.experiment import load
from aaclip_kit.experiment.toml_file import read_toml
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble, build_phase
from aaclip_kit.training.loop_plans import attending_after, plan_ahead
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import run_file
from ..conftest import write_class
from .test_experiments import FEW, LastBackbone, strings

pytestmark = pytest.mark.usefixtures("undrawn")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "experiments" / "methods"
FILES = sorted(path.stem for path in FOLDER.glob("*.toml"))
UNTRAINED = ["win_clip"]
LARGE = [name for name in FILES if name.startswith("vit")]
SHORT = {name: ["scheduler.epochs=1"] for name in ("ada_clip", "anomaly_clip", "april_gan", "text_free")}
"""What makes each small file's training one epoch long."""


def test_every_file_is_small_or_large() -> None:
    assert sorted([*SHORT, *UNTRAINED, *LARGE]) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_valid_named_as_its_file_and_names_nothing_outside_the_clone(name: str) -> None:
    path = FOLDER / f"{name}.toml"
    assert load(path, discover()).file.name == name
    assert all((path.parent / text).resolve().is_relative_to(ROOT) for text in strings(read_toml(path)))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHORT, *UNTRAINED])
def test_a_small_file_runs_to_the_end(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAKIT_CACHE", str(tmp_path / "cache"))
    parts = [(f"data.{role}.{number}", classes) for (role, number), classes in FEW.items()]
    few = [f"{where}.images_per_class=2" for where, _ in parts]
    few += [f"{where}.classes={json.dumps(classes)}" for where, classes in parts]
    metrics, watcher = run_file(FOLDER / f"{name}.toml", tmp_path / "run", *few, *SHORT.get(name, ()))
    before, after = metrics["before"], metrics["loops"]
    assert all(sorted(one["classes"]) == sorted(FEW["test", 0] + FEW["test", 1]) for one in [before, *after])
    assert all(before["mean"]["pixel_auroc"] != one["mean"]["pixel_auroc"] for one in after)
    assert bool(watcher.steps) == bool(after) == (name not in UNTRAINED)
    assert all(math.isfinite(step.loss) for step in watcher.steps)


@pytest.fixture(scope="module")
def backbones() -> Iterator[LastBackbone]:
    """Full-size backbones, one at a time."""
    yield LastBackbone(load(FOLDER / f"{LARGE[0]}.toml", discover()))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_a_large_file_takes_a_step_of_each_phase_and_scores(name: str, tmp_path: Path, backbones: LastBackbone) -> None:
    size = 80 if name.startswith("vitb") else 70
    overrides = ["backbone.pretrained=none", f"backbone.image_size={size}", "workers=0", "device=cpu"]
    for seed, role in enumerate(("train", "test")):
        write_class(tmp_path / role, f"{role}_cloth", seed, seed)
        where = f"data.{role}"
        overrides += [f"{where}.use=folder", f"{where}.root={tmp_path / role}", f"{where}.real_names={{}}"]
    experiment = load(FOLDER / f"{name}.toml", discover(), overrides)
    shared = replace(experiment.backbone, component=replace(experiment.backbone.component, factory=backbones))
    run = assemble(replace(experiment, backbone=shared))
    steps: list[Step] = []
    plans = [plan for loop in plan_ahead(run.scheduler) for plan in loop.phases]
    attending: frozenset[TowerName] = frozenset()
    for number, plan in enumerate(plans):
        attending = attending_after(plan, attending)
        train_phase(build_phase(run, replace(plan, epochs=1), 1, number, attending), StepCallback(steps.append))
    assert {step.phase for step in steps} == {plan.train for plan in plans}
    file, data = run.experiment.file, run.data.sets["test"]
    evaluator = Evaluator(run.model, run.compute_device, run.pixels, table=file.evaluation, switches=file.switches)
    one = replace(data, samples=data.samples[:1])
    (found,) = evaluator.scored_batches(one, "test_cloth", attending, trained=True)
    assert found.maps.shape == (1, size, size) and 0 <= float(found.image_scores[0]) <= 1
