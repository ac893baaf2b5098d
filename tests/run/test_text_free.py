"""A head that needs no text: whole runs with it, and what of text is refused beside it before anything is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from safetensors.torch import load_file

from aaclip_kit import PhasePlan, UserError
from aaclip_kit.cache.feature_store import MemoryStore
from aaclip_kit.experiment.toml_file import read_toml
from aaclip_kit.run.assemble import Run, build_phase
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import plan_for, with_parts
from ..command import Command
from ..parts import Plans, TinyHead

pytestmark = pytest.mark.usefixtures("undrawn")

PLUGIN = """
from aaclip_kit import OptimizerPlan, Options, PhasePlan, hookimpl
from tests.parts import Plans, TinyHead

class Bare(Options):
    "No options."

@hookimpl
def register_heads(register):
    register("own_vectors", lambda options, setting: TinyHead(setting.backbone.vision.width), Bare)

@hookimpl
def register_schedulers(register):
    plan = PhasePlan("vision", epochs=2, batch_size=4, optimizer=OptimizerPlan(learning_rate=1e-2))
    register("vision_alone", lambda options: Plans(plan), Bare)
"""


@pytest.fixture
def file(small_experiment: Path) -> Path:
    """The small experiment without anything of text."""
    tables = read_toml(small_experiment)
    tables["stages"] = {"vision_adapter": tables["stages"]["vision_adapter"]}
    tables["losses"] = {"vision": {"segmentation": {"use": "segmentation"}}}
    (small_experiment.parent / "own.py").write_text(PLUGIN)
    tables |= {"plugins": ["own.py"], "head": {"use": "own_vectors"}, "scheduler": {"use": "vision_alone"}}
    small_experiment.write_text(tomli_w.dumps(tables))
    return small_experiment


def text_free(path: Path, *overrides: str, plan: PhasePlan | None = None, **head: Any) -> Run:
    """The experiment with the tiny head, assembled without its plugin file."""
    tables = read_toml(path)
    for name in ("plugins", "head"):
        tables.pop(name, None)
    path.write_text(tomli_w.dumps({**tables, "scheduler": {"use": "base"}}))
    plans = Plans(plan or plan_for("vision"))
    return with_parts(path, *overrides, scheduler=lambda _: plans, head=lambda _, setting: TinyHead(32, **head))


def test_a_whole_run_scores_trains_reports_and_predicts(
    aakit: Command, file: Path, tmp_path: Path, defects: Path
) -> None:
    run = tmp_path / "run"
    ran = aakit("run", file, "--out", run, "--device", "cpu", "--set", "calibration.held_out=0.5")
    assert (ran.code, ran.err) == (0, "")
    metrics = json.loads((run / "metrics.json").read_text())
    assert [loop["loop"] for loop in metrics["loops"]] == [1]
    assert metrics["before"]["mean"] != metrics["loops"][0]["mean"]
    names = set(load_file(run / "checkpoints" / "loop_1.safetensors"))
    assert names == {"head.vectors", *(f"sites.stages.vision_adapter.{block}.linear.weight" for block in (0, 1))}
    assert (run / "report.html").is_file()
    ran = aakit("evaluate", run, "--experiment", file, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["classes"] == metrics["loops"][0]["classes"]
    ran = aakit("predict", run, defects / "green_wood" / "test" / "spot", "--experiment", file, "--out", tmp_path / "p")
    assert ran.code == 0
    scored = [json.loads(line) for line in (tmp_path / "p" / "scores.jsonl").read_text().splitlines()]
    assert len(scored) == 4 and all(0 <= line["score"] <= 1 for line in scored)


def test_there_are_no_prompts_and_no_text_side(file: Path) -> None:
    model = text_free(file).model
    assert model.prompts is None and model.text is None
    assert not model.trained_parameters("text")


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ({"use": "residual_adapter", "tower": "text", "after": [0]}, "stages.more"),
        ({"use": "image_to_text"}, "stages.more"),
    ],
)
def test_a_stage_that_needs_text_is_refused(file: Path, table: dict[str, Any], where: str) -> None:
    options = [f"stages.more.{key}={value}" for key, value in table.items()]
    with pytest.raises(UserError, match="needs text, and the head makes none") as caught:
        text_free(file, *options)
    assert caught.value.where == where and "choose a head that needs text" in str(caught.value.fix)


def test_so_are_a_loss_that_needs_it_and_one_that_the_head_does_not_feed(file: Path) -> None:
    for use, needs in (("orthogonality", "text_features"), ("image_cross_entropy", "detection_logits")):
        with pytest.raises(UserError, match=f"needs {needs}, which the head does not make") as caught:
            text_free(file, f"losses.vision.more.use={use}")
        assert caught.value.where == "losses.vision.more"
        assert caught.value.fix == "it makes labels, level_probabilities, masks"


def test_so_is_a_phase_that_has_nothing_to_train(file: Path) -> None:
    with pytest.raises(UserError, match="plans a phase that trains text, where neither stages nor") as caught:
        text_free(file, plan=plan_for("text"))
    assert caught.value.where == "scheduler"


def test_without_stages_the_backbone_runs_once_for_all_epochs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = read_toml(file)
    file.write_text(tomli_w.dumps({**tables, "stages": {}}))
    plan = plan_for("vision", epochs=4)
    losses: list[list[float]] = []
    images: list[int] = []
    for store in (None, MemoryStore(10**8)):
        run = text_free(file, "augmentation.geometry=0", "augmentation.color=0", plan=plan)
        inner, seen = run.model.backbone.embed_image, [0]

        def embed(pixels: torch.Tensor, inner: Any = inner, seen: list[int] = seen) -> torch.Tensor:
            seen[0] += len(pixels)
            return inner(pixels)

        monkeypatch.setattr(run.model.backbone, "embed_image", embed)
        steps: list[Step] = []
        train_phase(build_phase(run, plan, 1, 1, frozenset(), store), StepCallback(steps.append))
        losses.append([step.loss for step in steps])
        images.append(seen[0])
    assert losses[0] == losses[1] and losses[0][0] != losses[0][-1]
    assert images == [32, 8]


def test_coloured_views_are_no_features_to_keep(file: Path) -> None:
    """Each is a view that never comes again, and its strength is in no key."""
    tables = read_toml(file)
    file.write_text(tomli_w.dumps({**tables, "stages": {}}))
    run = text_free(file, "cache.features=disk", "augmentation.color=0.5")
    phase = build_phase(run, plan_for("vision"), 1, 1, frozenset(), MemoryStore(10**8))
    assert phase.cached is None and phase.holds is None


def test_a_text_phase_takes_kept_features_of_the_trained_vision_side(small_experiment: Path) -> None:
    """Without stages in the vision tower they are the untouched backbone's, kept by the vision phase before."""
    tables = read_toml(small_experiment)
    tables["stages"] = {"text_adapter": tables["stages"]["text_adapter"]}
    small_experiment.write_text(tomli_w.dumps(tables))
    still = ["augmentation.geometry=0", "augmentation.color=0", "switches.dropout=false"]
    found = []
    for store in (None, MemoryStore(10**8)):
        run = with_parts(small_experiment, *still)
        steps: list[Step] = []
        for train, number in (("vision", 1), ("text", 0)):
            plan = plan_for(train, features="trained")  # type: ignore[arg-type]
            phase = build_phase(run, plan, 2, number, {"text", "vision"}, store)
            train_phase(phase, StepCallback(steps.append))
        found.append([step.loss for step in steps])
        assert len(run.data.sets["train"].samples) == 8
    assert found[0] == found[1]
