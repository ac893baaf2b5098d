"""A run whose scheduler plans no loop: the model is scored, kept, reported and used as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError, load_model
from aaclip_kit.checkpoints.provenance import read_metadata
from aaclip_kit.comparison.finished_runs import read_run
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import assemble
from aaclip_kit.run.fit_memory import fit_memory
from aaclip_kit.run.loop import execute, rescore

from ..build import Watcher, run_file
from ..command import Command

pytestmark = pytest.mark.usefixtures("undrawn")

UNTRAINED = ("scheduler.use=none", "calibration.held_out=0.5", "device=cpu")


@pytest.fixture
def run(small_experiment: Path, tmp_path: Path) -> Path:
    run_file(small_experiment, tmp_path / "run", *UNTRAINED)
    return tmp_path / "run"


def written(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / name).read_text())
    return found


def test_it_quotes_the_untrained_figures_and_leaves_what_any_run_leaves(small_experiment: Path, tmp_path: Path) -> None:
    metrics, watcher = run_file(small_experiment, tmp_path / "run", *UNTRAINED)
    assert (metrics["loops"], metrics["quoted"]) == ([], {"loop": 0, "rule": "last"})
    assert watcher.means == [(0, metrics["before"]["mean"])] and not watcher.steps
    trained, _ = run_file(small_experiment, tmp_path / "trained", *UNTRAINED[1:])
    assert metrics["before"] == trained["before"] and metrics["rules"] == trained["rules"]
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {path.name for path in (tmp_path / "trained").iterdir()}
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["loop_0.safetensors"]
    assert len(list((tmp_path / "run" / "heatmaps").glob("*.png"))) == 8


def test_thresholds_and_curves_are_of_the_untrained_model(run: Path) -> None:
    calibration, curves = written(run, "calibration.json"), written(run, "curves.json")
    assert (calibration["loop"], curves["loop"]) == (0, 0)
    assert calibration["counts"] == {"normal": 2, "anomalous": 2}
    assert calibration["image_threshold"] is not None and calibration["map_threshold"] is not None
    assert curves["classes"].keys() == written(run, "metrics.json")["before"]["classes"].keys()


def test_it_predicts_and_evaluates_with_the_scores_that_were_quoted(run: Path, aakit: Command, defects: Path) -> None:
    model, before = load_model(run, device="cpu"), written(run, "metrics.json")["before"]
    assert not model.is_trained
    prediction = model.predict(defects / "green_wood/test/spot/000.png", "green wood")
    assert prediction.threshold == written(run, "calibration.json")["image_threshold"]
    assert prediction.decision is not None and prediction.mask is not None
    evaluated = json.loads(aakit("evaluate", run, "--json").out)
    assert evaluated["classes"] == before["classes"]
    assert not evaluated["notes"], "a model that was trained on nothing has seen no image"
    ran = aakit("predict", run, defects / "green_wood/test", "--out", run.parent / "found", "--class", "green_wood")
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (run.parent / "found" / "scores.jsonl").read_text().splitlines()]
    (own,) = (line for line in lines if line["path"].endswith("spot/000.png"))
    assert own["score"] == pytest.approx(prediction.pred_score, rel=1e-3)


def test_its_checkpoint_says_that_it_was_trained_on_nothing(run: Path) -> None:
    metadata = read_metadata(run / "checkpoints" / "loop_0.safetensors")
    assert metadata.about.loop == 0 and metadata.says_all
    assert metadata.training_images == metadata.training_pixels == metadata.about.trained_on == ()


def test_the_report_and_the_screen_say_so(small_experiment: Path, tmp_path: Path, aakit: Command) -> None:
    ran = aakit("run", small_experiment, "--out", tmp_path / "run", *(f"--set={one}" for one in UNTRAINED))
    assert ran.code == 0, ran.err
    assert "loops      none: nothing is trained, and the model is quoted as it is" in ran.out
    assert "test class, before training" in ran.out and "loop 0" not in ran.out
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Nothing was trained; quoted are the figures of the model as it is." in page
    assert "Classes, before training" in page and "Left out: the run folder has no curves" not in page
    assert "loop 0" not in page.partition("The experiment file, every default spelled out")[0]


def test_it_stands_beside_others_in_a_comparison(run: Path) -> None:
    finished = read_run(run)
    assert (finished.at(), finished.result()) == (0, finished.metrics["before"])


def test_validation_images_compare_the_image_scores(small_experiment: Path, tmp_path: Path, defects: Path) -> None:
    validation = f'data.validation={{use="folder", root="{defects}", classes=["red_cloth"]}}'
    training = f'data.train={{use="folder", root="{defects}", classes=["green_wood"]}}'
    own = (validation, training, "data.allow_overlap=true")
    metrics, _ = run_file(small_experiment, tmp_path / "run", *UNTRAINED, *own)
    assert set(metrics["image_scores"]) == {"used", "detection", "map", "mean"}
    assert written(tmp_path / "run", "calibration.json")["source"] == "data.validation"


def test_a_run_that_dies_goes_on(small_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run_file(small_experiment, tmp_path / "whole", *UNTRAINED)
    with monkeypatch.context() as patch:
        patch.setattr("aaclip_kit.run.loop.save_pictures", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_file(small_experiment, tmp_path / "run", *UNTRAINED)
    from aaclip_kit.run.resume import unfinished

    folder, snapshot, _ = unfinished(tmp_path / "run")
    assert snapshot is not None
    assert execute(assemble(load(small_experiment, discover(), UNTRAINED)), folder, Watcher(), snapshot) == whole


def test_it_can_be_scored_again(run: Path, small_experiment: Path, tmp_path: Path) -> None:
    again = assemble(load(small_experiment, discover(), [*UNTRAINED, "evaluation.image_score=map"]))
    metrics = rescore(again, run, RunFolder.create(tmp_path / "again"), Watcher())
    assert metrics["quoted"]["loop"] == 0
    assert load_model(tmp_path / "again", device="cpu").trained.checkpoint == run / "checkpoints" / "loop_0.safetensors"


def test_a_memory_plan_has_no_step(small_experiment: Path) -> None:
    run = fit_memory(assemble(load(small_experiment, discover(), [*UNTRAINED, "compute.recompute=auto"])))
    assert run.memory is not None and run.memory.needs == () and run.memory.unknown is None


def test_weights_that_would_not_be_scored_are_refused(small_experiment: Path, trained: Path) -> None:
    experiment = load(small_experiment, discover(), [*UNTRAINED, f"init.checkpoint={trained}"])
    with pytest.raises(UserError, match="plans no loop, and untrained weights are scored") as caught:
        assemble(experiment)
    assert caught.value.where == "init.checkpoint"
