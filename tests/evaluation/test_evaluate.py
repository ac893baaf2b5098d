"""Scoring a data set: what each option of [evaluation] does, against one image at a time and written-out formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from aaclip_kit import DataSet, TowerName
from aaclip_kit.data.batches import test_batches as batches_in_order
from aaclip_kit.engine.assemble import Run
from aaclip_kit.evaluation.evaluate import ClassScores, Evaluator
from aaclip_kit.evaluation.score import Scores, score
from aaclip_kit.experiment.schema import EvaluationTable

from ..conftest import write_class
from ..engine.build import build
from ..engine.test_run import run_file
from ..helpers import assert_close

NAME = "green_wood"
BOTH: frozenset[TowerName] = frozenset({"text", "vision"})


def evaluator_of(run: Run) -> Evaluator:
    file = run.experiment.file
    return Evaluator(run.detector, run.place, run.pixels, file.evaluation, file.switches)


def data_of(run: Run) -> DataSet:
    return run.data.sets["test"]


def scored(path: Path, *overrides: str) -> tuple[Run, ClassScores, np.ndarray]:
    """A run's scores of the test class, and its image scores."""
    run = build(path, *overrides)
    found = evaluator_of(run).class_scores(data_of(run), NAME, BOTH, trained=True)
    return run, found, evaluator_of(run).image_scores(found, data_of(run))


def scored_alone(run: Run, conditioned: bool, blur: bool = True) -> list[Scores]:
    """Each test image by itself, straight from the detector."""
    found = []
    for batch in batches_in_order(data_of(run).samples, run.pixels, 1):
        features = run.detector.image_features(batch.images, (NAME,), attention=True)
        context = run.detector.seen_by_text(batch.images, (NAME,), True, BOTH)[1]
        text = run.detector.text_features((NAME,), context if conditioned else None)
        found.append(score(features.levels, features.detection, text, 32, "industrial", blur))
    return found


def assert_scores(found: ClassScores, expected: list[Scores]) -> None:
    assert_close(found.maps, torch.cat([scores.maps for scores in expected]).detach(), atol=1e-5)
    assert_close(found.detection, torch.cat([scores.detection for scores in expected]).detach())
    assert_close(found.peaks, torch.cat([scores.map_peak for scores in expected]).detach(), atol=1e-5)


@pytest.mark.parametrize("conditioning", ["none", "image"])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_scores_are_those_of_each_image_alone_whatever_the_batch_size(
    small_experiment: Path, conditioning: str, batch_size: int
) -> None:
    options = [f"evaluation.batch_size={batch_size}", f"evaluation.text_conditioning={conditioning}"]
    run, found, _ = scored(small_experiment, *options)
    assert_scores(found, scored_alone(run, conditioned=conditioning == "image"))
    assert [sample.label for sample in found.samples] == found.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_text_conditioning(small_experiment: Path) -> None:
    _, plain, _ = scored(small_experiment)
    run, conditioned, _ = scored(small_experiment, "evaluation.text_conditioning=image")
    assert np.abs(plain.maps - conditioned.maps).max() > 1e-3
    evaluator = evaluator_of(run)
    without = evaluator.class_scores(data_of(run), NAME, {"vision"}, trained=True)
    assert_close(without.maps, plain.maps)
    apart = build(small_experiment, "evaluation.text_conditioning=image", "switches.evaluation_attention=false")
    assert_close(
        evaluator_of(apart).class_scores(data_of(run), NAME, BOTH, trained=True).maps,
        torch.cat([_scored_without_vision_attention(apart, place) for place in range(8)]),
        atol=1e-5,
    )


@torch.no_grad()
def _scored_without_vision_attention(run: Run, place: int) -> torch.Tensor:
    """The vision attention is off where images are scored; the text is conditioned as it was in training."""
    (batch,) = batches_in_order(data_of(run).samples[place : place + 1], run.pixels, 1)
    features = run.detector.image_features(batch.images, (NAME,), attention=False)
    text = run.detector.text_features((NAME,), run.detector.seen_by_text(batch.images, (NAME,), True, BOTH)[1])
    return score(features.levels, features.detection, text, 32, "industrial").maps


def test_image_score(small_experiment: Path) -> None:
    chosen = {}
    for choice in ("detection", "map", "mean"):
        _, found, image_scores = scored(small_experiment, f"evaluation.image_score={choice}")
        chosen[choice] = image_scores
    assert_close(chosen["detection"], found.detection)
    assert_close(chosen["map"], found.maps.reshape(8, -1).max(1))
    probability = 1 / (1 + np.exp(-(2 * found.peaks / 4 - 1)))
    assert_close(chosen["mean"], (found.detection + probability) / 2)


def test_blur(small_experiment: Path) -> None:
    run, found, _ = scored(small_experiment, "evaluation.blur=false")
    assert_scores(found, scored_alone(run, conditioned=False, blur=False))
    _, blurred, _ = scored(small_experiment)
    assert np.abs(found.maps - blurred.maps).max() > 1e-3
    assert_close(found.detection, blurred.detection)


def test_blur_goes_by_the_data_sets_domain(small_experiment: Path) -> None:
    run, industrial, _ = scored(small_experiment)
    found = evaluator_of(run).class_scores(replace(data_of(run), domain="medical"), NAME, BOTH, trained=True)
    assert np.abs(found.maps - industrial.maps).max() > 1e-3
    assert_close(found.detection, industrial.detection)


@pytest.mark.parametrize("heatmaps", [0, 3])
def test_heatmaps(small_experiment: Path, tmp_path: Path, heatmaps: int) -> None:
    one_loop = [f"scheduler.{key}=[1]" for key in ("text_epochs", "image_epochs", "rate_factors")]
    run_file(small_experiment, tmp_path / "run", f"evaluation.heatmaps={heatmaps}", *one_loop)
    assert len(list((tmp_path / "run").glob("heatmaps/*.png"))) == heatmaps


def test_batch_size(small_experiment: Path) -> None:
    """Only memory and time depend on it: metrics are equal."""
    values = []
    for batch_size in (2, 5):
        run = build(small_experiment, f"evaluation.batch_size={batch_size}")
        values.append(evaluator_of(run).metrics(data_of(run), BOTH, trained=True)["mean"])
    for metric, value in values[0].items():
        assert_close(value, values[1][metric], atol=1e-4)


def test_no_option_is_left_out() -> None:
    assert [name for name in EvaluationTable.model_fields if f"test_{name}" not in globals()] == []


def test_a_score_does_not_depend_on_the_other_images_of_the_class(small_experiment: Path) -> None:
    run, found, image_scores = scored(small_experiment)
    data = data_of(run)
    part = replace(data, samples=data.samples[2:5])
    fewer = evaluator_of(run).class_scores(part, NAME, BOTH, trained=True)
    assert_close(fewer.maps, found.maps[2:5], atol=1e-5)
    assert_close(evaluator_of(run).image_scores(fewer, part), image_scores[2:5])


def test_min_max_over_the_test_set_acts_by_the_switch_only(small_experiment: Path) -> None:
    switch = "switches.score_normalisation=test_set"
    run, found, image_scores = scored(small_experiment, switch, "evaluation.image_score=detection")
    peaks = ((found.maps - found.maps.min()) / (found.maps.max() - found.maps.min())).reshape(8, -1).max(1)
    detection = (found.detection - found.detection.min()) / (found.detection.max() - found.detection.min())
    assert_close(image_scores, 0.5 * peaks + 0.5 * detection)
    data = data_of(run)
    assert_close(evaluator_of(run).image_scores(found, replace(data, domain="medical")), peaks)
    part = replace(data, samples=data.samples[2:5])
    fewer = evaluator_of(run).class_scores(part, NAME, BOTH, trained=True)
    assert np.abs(evaluator_of(run).image_scores(fewer, part) - image_scores[2:5]).max() > 1e-3
    alone = replace(data, samples=data.samples[:1])
    single = evaluator_of(run).class_scores(alone, NAME, BOTH, trained=True)
    assert evaluator_of(run).image_scores(single, alone).tolist() == [0.5], "one image has no spread of its own"


def test_before_training_it_scores_the_frozen_backbone(small_experiment: Path) -> None:
    run = build(small_experiment)
    found = evaluator_of(run).class_scores(data_of(run), NAME, frozenset(), trained=False)
    expected = []
    for batch in batches_in_order(data_of(run).samples, run.pixels, 1):
        frozen = run.detector.image.frozen(batch.images, (2, 4, 6, 8))
        text = run.detector.text.frozen_features((NAME,))
        expected.append(score(frozen.levels, frozen.detection, text, 32, "industrial"))
    assert_scores(found, expected)


def test_metrics_of_each_class_and_their_mean(small_experiment: Path, tmp_path: Path) -> None:
    write_class(tmp_path, "blue_tile", 2, seed=9)
    run = build(small_experiment, f"data.test.root={tmp_path}", "data.test.classes=[blue_tile]")
    both = DataSet((*run.data.sets["train"].samples, *data_of(run).samples), run.data.real_names, "industrial")
    kept: dict[str, ClassScores] = {}
    evaluator = evaluator_of(run)
    metrics = evaluator.metrics(both, BOTH, trained=True, keep=kept.__setitem__)
    assert list(metrics["classes"]) == list(kept) == ["red_cloth", "blue_tile"]
    for name, found in kept.items():
        values = metrics["classes"][name]
        assert {sample.class_name for sample in found.samples} == {name}
        assert_close(values["pixel_auroc"], roc_auc_score(found.masks.ravel(), found.maps.ravel()))
        assert_close(values["image_auroc"], roc_auc_score(found.labels, evaluator.image_scores(found, both)))
    for metric, mean in metrics["mean"].items():
        assert_close(mean, float(np.mean([values[metric] for values in metrics["classes"].values()])))


def test_a_class_without_every_mask_has_no_pixel_metrics(small_experiment: Path) -> None:
    run = build(small_experiment)
    data = data_of(run)
    bare = (*data.samples[:-1], replace(data.samples[-1], mask=None))
    values = evaluator_of(run).metrics(replace(data, samples=bare), BOTH, trained=True)["mean"]
    assert values["pixel_auroc"] is None and values["pixel_ap"] is None
    assert values["image_auroc"] is not None
