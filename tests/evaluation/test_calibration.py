"""Thresholds: by their definitions, on images that training never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from aaclip_kit import DataSet, Sample
from aaclip_kit.data.splits import split
from aaclip_kit.evaluation.calibration import (
    Calibration,
    Calibrator,
    Rates,
    What,
    absurd_rates,
    kept_scores,
    one_by_one,
)
from aaclip_kit.evaluation.evaluator import Evaluator, ScoredBatch
from aaclip_kit.experiment.schema import CalibrationTable, EvaluationTable

from ..build import build
from ..conftest import write_class
from ..helpers import assert_close


@pytest.fixture
def blue_felt(tmp_path: Path) -> Path:
    """A third class, for a role of its own."""
    write_class(tmp_path / "more", "blue_felt", channel=2, seed=7)
    return tmp_path / "more"


def batch(labels: list[int], seed: int = 0, masked: bool = True) -> ScoredBatch:
    """Scores and maps of noise that lean to the labels; the left half of an anomalous image is its mask."""
    random = np.random.default_rng(seed)
    count = len(labels)
    masks = np.zeros((count, 6, 6), bool)
    masks[np.array(labels) == 1, :, :3] = True
    maps = (random.normal(size=masks.shape) + 1.5 * masks).astype(np.float32)
    scores = (random.normal(size=count) + 1.2 * np.array(labels)).astype(np.float32)
    samples = tuple(
        Sample(Path(f"{seed}_{place}.png"), "thing", 1 if label else 0, Path("m.png") if label and masked else None)
        for place, label in enumerate(labels)
    )
    if not masked:
        masks = np.zeros_like(masks)
    peaks = maps.reshape(count, -1).max(axis=1)
    return ScoredBatch(
        samples=samples, masks=masks, grid=maps, maps=maps, detection=scores, peaks=peaks, image_scores=scores
    )


def calibrated(*batches: ScoredBatch, rule: Literal["f1max", "fpr"] = "f1max", fpr: float = 0.1) -> Calibration:
    calibrator = Calibrator(CalibrationTable(rule=rule, fpr=fpr))
    for found in batches:
        calibrator.on_batch("thing", found)
    return calibrator.result("data.validation")


def f1_at(scores: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    chosen = scores >= threshold
    return 2 * float((chosen & labels).sum()) / float(chosen.sum() + labels.sum())


def test_the_largest_f1_by_trying_every_score() -> None:
    parts = [batch([0, 1] * 10, seed) for seed in range(3)]
    found = calibrated(*parts)
    thresholds: dict[What, float | None] = {"image": found.image_threshold, "map": found.map_threshold}
    for what, threshold in thresholds.items():
        one = what == "image"
        scores = np.concatenate([part.image_scores if one else part.maps.ravel() for part in parts])
        labels = np.concatenate([part.labels == 1 if one else part.masks.ravel() for part in parts])
        best = max(f1_at(scores, labels, value) for value in scores)
        assert threshold is not None
        assert f1_at(scores, labels, threshold) == pytest.approx(best)
        assert_close(found.achieved[what]["f1"], best)
        assert_close(found.achieved[what]["fpr"], float((scores[~labels] >= threshold).mean()))
    assert (found.rule, found.fpr, found.counts) == ("f1max", None, {"normal": 30, "anomalous": 30})
    assert found.reasons == {}


@pytest.mark.parametrize("rule", ["f1max", "fpr"])
def test_an_image_whose_score_is_made_again_in_another_batch_keeps_its_decision(rule: Literal["f1max", "fpr"]) -> None:
    part = batch([0, 1] * 20)
    found = calibrated(part, rule=rule).image_threshold
    assert found is not None
    for change in (-6e-8, 6e-8):
        again = part.image_scores.astype(np.float64) + change
        assert ((again >= found) == (part.image_scores >= found)).all(), "no score is the threshold"


def test_a_threshold_that_is_absurd_on_its_own_source_is_told_of() -> None:
    mixed = calibrated(batch([0] * 20 + [1] * 20), rule="fpr", fpr=0.5)
    (line, *_) = absurd_rates(mixed.achieved, mixed.source)
    assert (
        line == "the image threshold calls 50.0% of the normal images anomalous that it was chosen on (data.validation)"
    )
    assert absurd_rates(calibrated(batch([0] * 20 + [1] * 20), rule="fpr", fpr=0.1).achieved, "x") == []
    none: dict[What, Rates] = {"image": {"fpr": 0.0, "f1": 0.0}, "map": {"fpr": 0.0, "f1": None}}
    assert absurd_rates(none, "x") == [
        "the image threshold finds none of the anomalous images that it was tried on (x)"
    ]


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_a_false_positive_rate_is_kept_and_used_up(rate: float) -> None:
    parts = [batch([0] * 40 + [1] * 5, seed) for seed in range(2)]
    found = calibrated(*parts, rule="fpr", fpr=rate)
    scores = np.concatenate([part.image_scores[part.labels == 0] for part in parts])
    assert found.image_threshold is not None
    share = float((scores >= found.image_threshold).mean())
    assert rate - 1 / len(scores) <= share <= rate
    assert_close(found.achieved["image"]["fpr"], share)
    assert found.fpr == rate
    pixels = found.achieved["map"]["fpr"]
    assert pixels is not None and rate - 0.001 <= pixels <= rate


def test_without_masks_a_rate_is_taken_from_the_normal_images_and_f1_has_a_reason() -> None:
    bare, normal = batch([0, 1] * 10, masked=False), batch([0] * 10)
    found = calibrated(bare, rule="fpr")
    pixels = bare.maps[bare.labels == 0].ravel()
    assert found.map_threshold is not None
    assert (pixels >= found.map_threshold).mean() <= 0.1
    assert found.achieved["map"]["f1"] is None
    found = calibrated(bare)
    assert found.image_threshold is not None and found.map_threshold is None
    assert found.reasons == {
        "map_threshold": "no mask with an anomalous pixel to calibrate on, which rule f1max needs; "
        "rule fpr does without"
    }
    found = calibrated(normal)
    assert found.reasons["image_threshold"] == "no anomalous image to calibrate on, which rule f1max needs"
    assert calibrated().reasons["image_threshold"] == "no image to calibrate on"
    assert calibrated(batch([1, 1]), rule="fpr").reasons["image_threshold"] == "no normal image to calibrate on"


def by_name(data: DataSet) -> dict[Path, str]:
    """Checksums of images that all differ."""
    return {sample.image: sample.image.name for sample in data.samples}


def data_of(**counts: tuple[int, int]) -> DataSet:
    samples = [
        Sample(Path(f"{name}_{label}_{place}.png"), name, 1 if label else 0)
        for name, both in counts.items()
        for label, count in enumerate(both)
        for place in range(count)
    ]
    return DataSet(tuple(samples), {name: name for name in counts})


def test_a_share_of_each_class_and_label_is_drawn_by_seed() -> None:
    data = data_of(a=(20, 10), b=(4, 1))
    images = by_name(data)
    rest, drawn = split(data, images, 0.1, seed=3)
    counts = {(name, label): 0 for name in "ab" for label in (0, 1)}
    for sample in drawn.samples:
        counts[sample.class_name, sample.label] += 1
    assert counts == {("a", 0): 2, ("a", 1): 1, ("b", 0): 0, ("b", 1): 0}
    assert sorted([*rest.samples, *drawn.samples], key=data.samples.index) == list(data.samples)
    assert list(rest.samples) == sorted(rest.samples, key=data.samples.index)
    assert split(data, images, 0.1, seed=3) == (rest, drawn)
    assert split(data, images, 0.1, seed=4)[1] != drawn
    alone = split(data_of(a=(20, 10)), images, 0.1, seed=3)[1]
    assert alone.samples == tuple(sample for sample in drawn.samples if sample.class_name == "a")


def test_no_share_takes_nothing_and_a_large_one_leaves_an_image_to_train_on() -> None:
    data = data_of(a=(20, 1))
    assert split(data, by_name(data), 0.0, seed=3) == (data, replace(data, samples=()))
    rest, _ = split(data, by_name(data), 0.99, seed=3)
    assert [sample.label for sample in rest.samples] == [0, 1]


@pytest.mark.parametrize("seed", range(8))
def test_files_of_one_content_are_drawn_together(seed: int) -> None:
    data = data_of(a=(12, 2), b=(2, 0))
    images = {path: name if name[0] == "b" else name[:3] + str(len(name)) for path, name in by_name(data).items()}
    images = {sample.image: images[sample.image] for sample in data.samples}
    assert len(set(images.values())) == 5
    rest, drawn = split(data, images, 0.5, seed)
    sides = [{images[sample.image] for sample in side.samples} for side in (rest, drawn)]
    assert not sides[0] & sides[1]
    assert {sample.class_name for sample in drawn.samples} == {"a", "b"}


def test_a_content_of_both_labels_stays_in_training() -> None:
    data = data_of(a=(4, 4))
    images = {path: name[-5:] for path, name in by_name(data).items()}
    assert split(data, images, 0.5, seed=0) == (data, replace(data, samples=()))


HALF = "calibration.held_out=0.5"
VALIDATION = ("data.validation.use=folder", "data.validation.classes=[blue_felt]")
CALIBRATION = ("data.calibration.use=folder", "data.calibration.classes=[blue_felt]")


def test_a_run_takes_a_share_out_of_training_or_a_role_of_its_own(small_experiment: Path, blue_felt: Path) -> None:
    run = build(small_experiment, HALF)
    train, out = run.data.sets["train"], run.calibration.data
    assert (len(train.samples), len(out.samples)) == (4, 4)
    assert not set(train.samples) & set(out.samples)
    assert run.data.records["train"]["held_out"] == [str(sample.image) for sample in out.samples]
    assert str(run.calibration) == "4 images of data.train, kept out of training"
    counts = run.data.records["train"]["held_out_counts"]
    assert counts == {"red_cloth": {"normal": 2, "anomalous": 2}}
    for role, keys in (("validation", VALIDATION), ("calibration", CALIBRATION)):
        run = build(small_experiment, HALF, *keys, f"data.{role}.root={blue_felt}")
        assert run.calibration.source == f"data.{role}"
        assert run.calibration.data.classes == ("blue_felt",)
        assert len(run.data.sets["train"].samples) == 8
        assert "held_out" not in run.data.records["train"]


def test_of_two_roles_calibration_counts(small_experiment: Path, blue_felt: Path) -> None:
    keys = (
        "data.calibration.use=synthetic",
        "data.calibration.split=validation",
        "data.calibration.images_per_class=2",
    )
    run = build(small_experiment, *VALIDATION, f"data.validation.root={blue_felt}", *keys)
    assert run.calibration.source == "data.calibration"


def test_published_switches_that_mix_a_batch_score_images_one_by_one(small_experiment: Path) -> None:
    run = build(small_experiment)
    table = EvaluationTable(batch_size=4, text_conditioning="image")
    for switches, size in (("own", 4), ("batch_mean", 1)):
        chosen = run.experiment.switches.model_copy(update={"image_context": switches})
        evaluator = one_by_one(Evaluator(run.model, run.compute_device, run.pixels, table=table, switches=chosen))
        assert evaluator.table.batch_size == size


def test_scores_of_normal_images_are_kept_in_order_and_of_many_an_even_choice() -> None:
    assert kept_scores([0.3, 0.1, 0.2]) == [0.1, 0.2, 0.3] and kept_scores([]) is None
    many = kept_scores(np.arange(5000)[::-1] / 5000)
    assert many is not None and len(many) == 1000 and many == sorted(many)
    assert (many[0], many[-1]) == (0.0, 0.9998)
