"""Masks of any numbers, pixels that a mask leaves out, and masks that say nothing at the map's size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaclip_kit import Sample
from aaclip_kit.evaluation.calibration import Calibrator
from aaclip_kit.evaluation.class_metrics import ClassMetrics, results
from aaclip_kit.evaluation.evaluator import ScoredBatch
from aaclip_kit.evaluation.histogram import Histogram
from aaclip_kit.evaluation.rules import LabelledImage, rule_metrics
from aaclip_kit.experiment.schema import CalibrationTable
from aaclip_kit.report.examples import pixel_ap

RANDOM = np.random.default_rng(3)
MAPS = RANDOM.random((4, 12, 12), np.float32)
MASKS = np.zeros((4, 12, 12), bool)
MASKS[2:, 3:7, 2:9] = True
BORDER = np.zeros_like(MASKS)
BORDER[2:, 7, 2:9] = True
LABELS, SCORES = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.3, 0.8], np.float32)
CODES = np.where(BORDER, -1, MASKS).astype(np.int8)


def values(maps: Any, masks: Any, labels: np.ndarray = LABELS) -> dict[str, float | None]:
    metrics = ClassMetrics()
    metrics.update(maps, masks, SCORES[: len(labels)], labels)
    return metrics.values()


@pytest.mark.parametrize("as_kind", [np.uint8, np.float32, lambda masks: masks * np.uint8(255)])
def test_masks_of_any_numbers_count_as_bits_do(as_kind: Callable[[np.ndarray], np.ndarray]) -> None:
    assert values(MAPS, as_kind(MASKS)) == values(MAPS, MASKS)
    bits, numbers = Histogram(), Histogram()
    bits.add(MAPS.ravel(), MASKS.ravel())
    numbers.add(MAPS.ravel(), as_kind(MASKS).ravel())
    assert (numbers.negatives, numbers.positives) == (bits.negatives, bits.positives)


def test_left_out_pixels_change_no_metric_whatever_their_scores() -> None:
    changed = np.where(BORDER, 9, MAPS).astype(np.float32)
    assert values(MAPS, CODES) == values(changed, CODES)
    assert values(MAPS, MASKS) != values(changed, MASKS)
    rows = np.s_[:, :7]
    assert values(MAPS[rows], CODES[rows]) == values(MAPS[rows], MASKS[rows])
    whole = values(MAPS, CODES)
    rest = ~BORDER
    flat = Histogram()
    flat.add(MAPS[rest], MASKS[rest])
    alone = ClassMetrics()
    alone.pixels = flat
    assert whole["pixel_auroc"] == alone.values()["pixel_auroc"]
    assert pixel_ap(MAPS[2], CODES[2]) == pixel_ap(changed[2], CODES[2]) != pixel_ap(changed[2], MASKS[2])


def test_the_rules_that_know_nothing_leave_them_out_too() -> None:
    image = RANDOM.integers(0, 256, (12, 12, 3), dtype=np.uint8)
    pair = [LabelledImage(image, 0, None), LabelledImage(image, 1, CODES[2])]
    found = rule_metrics({"a": pair})["darkness"]["classes"]["a"]
    assert found != rule_metrics({"a": [pair[0], LabelledImage(image, 1, MASKS[2])]})["darkness"]["classes"]["a"]


def test_thresholds_leave_them_out() -> None:
    thresholds = []
    for maps in (MAPS, np.where(BORDER, 9, MAPS).astype(np.float32)):
        calibrator = Calibrator(CalibrationTable())
        calibrator.on_batch("a", _batch(maps))
        thresholds.append(calibrator.result("given").map_threshold)
        assert calibrator.pixels.negatives + calibrator.pixels.positives == np.count_nonzero(~BORDER)
    assert thresholds[0] == thresholds[1]


def _batch(maps: np.ndarray) -> ScoredBatch:
    samples = tuple(Sample(Path("a.png"), "a", 1 if label else 0, Path("m.png") if label else None) for label in LABELS)
    return ScoredBatch(
        samples=samples, masks=CODES, grid=maps, maps=maps, detection=SCORES, peaks=SCORES, image_scores=SCORES
    )


def test_a_mask_that_is_empty_at_the_maps_size_is_counted_and_told_of() -> None:
    metrics, masks = ClassMetrics(), MASKS.copy()
    metrics.update(MAPS, masks, SCORES, LABELS)
    assert "pixel_metrics_of" not in results({"pin": metrics.result()})
    masks[3] = False
    holed, other = ClassMetrics(), ClassMetrics()
    holed.update(MAPS[:3], masks[:3], SCORES[:3], LABELS[:3])
    other.update(MAPS[3:], masks[3:], SCORES[3:], LABELS[3:])
    holed.merge(ClassMetrics.from_state(other.state()))
    assert results({"pin": holed.result()})["pixel_metrics_of"] == {
        "pin": "1 of 2 masks; the others have no anomalous pixel at the map's size"
    }
