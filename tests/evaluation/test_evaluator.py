"""Scoring a data set: what each option of [evaluation] does, against one image at a time and written-out formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from aaclip_kit import DataSet, Domain, Scores, TowerName
from aaclip_kit.data.loader import test_batches as batches_in_order
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.evaluation.class_metrics import METRICS, ClassMetrics
from aaclip_kit.evaluation.evaluator import ScoredBatch
from aaclip_kit.evaluation.histogram import Histogram
from aaclip_kit.experiment.schema import EvaluationTable
from aaclip_kit.run.assemble import Run

from ..build import build, evaluator_of, run_file, text_of, untouched_features
from ..conftest import write_class
from ..helpers import assert_close, bilinear, untested
from .given import GivenScores, whole_class

pytestmark = pytest.mark.usefixtures("undrawn")

NAME = "green_wood"
BOTH: frozenset[TowerName] = frozenset({"text", "vision"})


def data_of(run: Run) -> DataSet:
    return run.data.sets["test"]


def scored(path: Path, *overrides: str) -> tuple[Run, ScoredBatch]:
    """A run and its scores of the test class."""
    run = build(path, *overrides)
    return run, whole_class(evaluator_of(run), data_of(run), NAME, BOTH)


def scored_alone(run: Run, conditioned: bool, blur: bool = True) -> list[Scores]:
    """Each test image by itself, straight from the detector."""
    found = []
    for batch in batches_in_order(data_of(run).samples, run.pixels, 1):
        features = run.model.image_features(batch.images, (NAME,), attention=True)
        context = run.model.text_phase_inputs(batch.images, (NAME,), True, BOTH)[1]
        text = run.model.text_features((NAME,), context if conditioned else None)
        found.append(run.model.head.score(features, text, 32, "industrial", blur))
    return found


def assert_scores(found: ScoredBatch, expected: list[Scores]) -> None:
    assert_close(found.maps, torch.cat([scores.maps for scores in expected]).detach(), atol=1e-5)
    assert_close(found.detection, torch.cat([scores.detection for scores in expected]).detach())
    assert_close(found.peaks, torch.cat([scores.map_peak for scores in expected]).detach(), atol=1e-5)


@pytest.mark.parametrize("conditioning", ["none", "image"])
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_scores_are_those_of_each_image_alone_whatever_the_batch_size(
    small_experiment: Path, conditioning: str, batch_size: int
) -> None:
    options = [f"evaluation.batch_size={batch_size}", f"evaluation.text_conditioning={conditioning}"]
    run, found = scored(small_experiment, *options)
    assert_scores(found, scored_alone(run, conditioned=conditioning == "image"))
    assert [sample.label for sample in found.samples] == found.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


def test_text_conditioning(small_experiment: Path) -> None:
    _, plain = scored(small_experiment)
    run, conditioned = scored(small_experiment, "evaluation.text_conditioning=image")
    assert np.abs(plain.maps - conditioned.maps).max() > 1e-3
    evaluator = evaluator_of(run)
    without = whole_class(evaluator, data_of(run), NAME, {"vision"})
    assert_close(without.maps, plain.maps)
    apart = build(small_experiment, "evaluation.text_conditioning=image", "switches.evaluation_attention=false")
    assert_close(
        whole_class(evaluator_of(apart), data_of(run), NAME, BOTH).maps,
        torch.cat([_scored_without_vision_attention(apart, place) for place in range(8)]),
        atol=1e-5,
    )


@torch.no_grad()
def _scored_without_vision_attention(run: Run, place: int) -> torch.Tensor:
    """The vision attention is off where images are scored; the text is conditioned as it was in training."""
    (batch,) = batches_in_order(data_of(run).samples[place : place + 1], run.pixels, 1)
    features = run.model.image_features(batch.images, (NAME,), attention=False)
    text = run.model.text_features((NAME,), run.model.text_phase_inputs(batch.images, (NAME,), True, BOTH)[1])
    return run.model.head.score(features, text, 32, "industrial", True).maps


def test_image_score(small_experiment: Path) -> None:
    chosen = {}
    for choice in ("detection", "map", "mean"):
        found = scored(small_experiment, f"evaluation.image_score={choice}")[1]
        chosen[choice] = found.image_scores
    assert_close(chosen["detection"], found.detection)
    assert_close(chosen["map"], found.maps.reshape(8, -1).max(1))
    probability = 1 / (1 + np.exp(-(2 * found.peaks / 4 - 1)))
    assert_close(chosen["mean"], (found.detection + probability) / 2)


def test_blur(small_experiment: Path) -> None:
    run, found = scored(small_experiment, "evaluation.blur=false")
    assert_scores(found, scored_alone(run, conditioned=False, blur=False))
    _, blurred = scored(small_experiment)
    assert np.abs(found.maps - blurred.maps).max() > 1e-3
    assert_close(found.detection, blurred.detection)


def test_blur_goes_by_the_data_sets_domain(small_experiment: Path) -> None:
    run, industrial = scored(small_experiment)
    found = whole_class(evaluator_of(run), replace(data_of(run), domain="medical"), NAME, BOTH)
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
    assert untested(EvaluationTable.model_fields, __file__) == []


def test_a_score_does_not_depend_on_the_other_images_of_the_class(small_experiment: Path) -> None:
    run, found = scored(small_experiment)
    data = data_of(run)
    part = replace(data, samples=data.samples[2:5])
    fewer = whole_class(evaluator_of(run), part, NAME, BOTH)
    assert_close(fewer.maps, found.maps[2:5], atol=1e-5)
    assert_close(fewer.image_scores, found.image_scores[2:5])


@pytest.mark.parametrize("domain", ["industrial", "medical"])
def test_min_max_over_the_test_set_acts_by_the_switch_only(small_experiment: Path, domain: Domain) -> None:
    switch = "switches.score_normalisation=test_set"
    run, found = scored(small_experiment, switch, "evaluation.image_score=detection", "evaluation.batch_size=3")
    assert_close(found.image_scores, found.detection)
    peaks = ((found.maps - found.maps.min()) / (found.maps.max() - found.maps.min())).reshape(8, -1).max(1)
    detection = (found.detection - found.detection.min()) / (found.detection.max() - found.detection.min())
    expected = peaks if domain == "medical" else 0.5 * peaks + 0.5 * detection
    given = replace(data_of(run), domain=domain)
    evaluator = GivenScores(**vars(evaluator_of(run)), given=found, size=3)
    assert_counted(evaluator.class_metrics(given, NAME, BOTH, trained=True), expected, found.labels)
    raw = replace(evaluator, switches=run.experiment.file.switches.model_copy(update={"score_normalisation": "none"}))
    assert_counted(raw.class_metrics(given, NAME, BOTH, trained=True), found.detection, found.labels)


def assert_counted(found: ClassMetrics, image_scores: np.ndarray, labels: np.ndarray) -> None:
    """These scores, no more and no fewer, went into the image metrics."""
    expected = Histogram()
    expected.add(image_scores, labels == 1)
    for name, array in found.images.state().items():
        assert np.array_equal(array, expected.state()[name]), name


def test_before_training_it_scores_the_frozen_backbone(small_experiment: Path) -> None:
    run = build(small_experiment)
    found = whole_class(evaluator_of(run), data_of(run), NAME, frozenset(), trained=False)
    expected = []
    for batch in batches_in_order(data_of(run).samples, run.pixels, 1):
        text = text_of(run.model).untrained_features((NAME,))
        expected.append(run.model.head.score(untouched_features(run.model, batch.images), text, 32, "industrial", True))
    assert_scores(found, expected)


@pytest.mark.parametrize("trained", [True, False])
@torch.no_grad()
def test_images_are_scored_in_the_precision_that_was_asked_for(small_experiment: Path, trained: bool) -> None:
    run = build(small_experiment, "precision=bf16")
    found = whole_class(evaluator_of(run), data_of(run), NAME, BOTH, trained)
    (batch,) = batches_in_order(data_of(run).samples, run.pixels, 8)
    with torch.autocast("cpu", torch.bfloat16):
        if trained:
            image = run.model.image_features(batch.images, batch.classes, attention=True)
            text = run.model.text_features((NAME,), None)
        else:
            image = untouched_features(run.model, batch.images)
            text = text_of(run.model).untrained_features((NAME,))
    expected = run.model.head.score(image, text.expand(8, -1, -1), 32, "industrial", True)
    assert torch.equal(torch.from_numpy(found.maps), expected.maps)
    assert torch.equal(torch.from_numpy(found.detection), expected.detection)
    plain = replace(evaluator_of(run), compute_device=ComputeDevice.choose("cpu", "fp32"))
    exact = whole_class(plain, data_of(run), NAME, BOTH, trained)
    # Eight bits a number, through eight blocks: other digits of the same scores.
    assert 1e-3 < np.abs(found.maps - exact.maps).max() < 5
    assert 0 < np.abs(found.detection - exact.detection).max() < 0.05


def test_metrics_of_each_class_and_their_mean(small_experiment: Path, tmp_path: Path) -> None:
    write_class(tmp_path, "blue_tile", 2, seed=9)
    run = build(small_experiment, f"data.test.root={tmp_path}", "data.test.classes=[blue_tile]")
    both = DataSet((*run.data.sets["train"].samples, *data_of(run).samples), run.data.real_names, "industrial")
    kept: dict[str, ScoredBatch] = {}
    evaluator = evaluator_of(run)
    metrics = evaluator.metrics(both, BOTH, trained=True, on_batch=kept.__setitem__)
    assert list(metrics["classes"]) == list(kept) == ["red_cloth", "blue_tile"]
    for name, found in kept.items():
        values = metrics["classes"][name]
        assert {sample.class_name for sample in found.samples} == {name}
        assert_close(values["pixel_auroc"], roc_auc_score(found.masks.ravel(), found.maps.ravel()))
        assert_close(values["image_auroc"], roc_auc_score(found.labels, found.image_scores))
    for metric, mean in metrics["mean"].items():
        assert_close(mean, float(np.mean([values[metric] for values in metrics["classes"].values()])))


def test_a_class_without_every_mask_has_no_pixel_metrics(small_experiment: Path) -> None:
    run = build(small_experiment)
    data = data_of(run)
    bare = (*data.samples[:-1], replace(data.samples[-1], mask=None))
    metrics = evaluator_of(run).metrics(replace(data, samples=bare), BOTH, trained=True)
    pixel = {metric for metric in METRICS if metric.startswith("pixel")}
    assert {metric for metric, value in metrics["mean"].items() if value is None} == pixel
    assert metrics["undefined"] == {NAME: dict.fromkeys(pixel, "no mask for 1 of 4 anomalous images")}


def test_a_class_is_scored_batch_by_batch_and_its_text_encoded_once(
    small_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build(small_experiment, "evaluation.batch_size=3")
    encoded: list[tuple[str, ...]] = []
    features = run.model.text_features

    def watched(classes: tuple[str, ...], *rest: Any) -> torch.Tensor:
        encoded.append(classes)
        return features(classes, *rest)

    monkeypatch.setattr(run.model, "text_features", watched)
    sizes: list[tuple[int, ...]] = []
    evaluator_of(run).metrics(
        data_of(run), BOTH, trained=True, on_batch=lambda _, batch: sizes.append(batch.maps.shape)
    )
    assert sizes == [(3, 32, 32), (3, 32, 32), (2, 32, 32)]
    assert encoded == [(NAME,)]


def test_maps_are_the_grids_at_the_image_size(small_experiment: Path) -> None:
    found = scored(small_experiment)[1]
    assert found.grid.shape == (8, 4, 4)
    expected = np.stack([bilinear(grid, 32) for grid in found.grid])
    assert_close(found.maps, expected.astype(np.float32), atol=1e-5)
