"""Regions of a mask against a hand-made one, and masks without the small ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aaclip_kit import Prediction
from aaclip_kit.inference.regions import Region, regions_of, without_small


def drawn() -> np.ndarray:
    """A map with a bar of 3 x 2, a diagonal of 2 and a single pixel."""
    values = np.zeros((6, 8), np.float32)
    values[1:3, 2:5] = 1.0
    values[1, 4] = 2.0
    values[4, 0], values[5, 1] = 3.0, 1.5
    values[5, 7] = 1.25
    return values


def test_each_region_has_its_box_area_and_largest_value() -> None:
    assert regions_of(drawn() > 0, drawn()) == [
        Region((0, 4, 2, 2), 2, 3.0),
        Region((2, 1, 3, 2), 6, 2.0),
        Region((7, 5, 1, 1), 1, 1.25),
    ]
    assert regions_of(np.zeros((3, 3), bool), np.zeros((3, 3), np.float32)) == []


def test_a_mask_loses_regions_below_the_least_area() -> None:
    mask = drawn() > 0
    assert without_small(mask, 1) is mask
    assert without_small(mask, 3).sum() == 6 and without_small(mask, 2).sum() == 8
    assert not without_small(mask, 7).any()


def test_a_prediction_has_regions_of_the_same_mask() -> None:
    made: dict[str, Any] = {
        "path": Path("a.png"),
        "pred_score": 0.5,
        "threshold": None,
        "max_value": 3.0,
        "anomaly_map": drawn(),
    }
    found = Prediction(**made, map_threshold=1.0, least_area=3)
    assert found.mask is not None and found.mask.sum() == 6 and found.regions == [Region((2, 1, 3, 2), 6, 2.0)]
    left = np.zeros((6, 8), bool)
    left[:, :2] = True
    part = Prediction(**made, map_threshold=1.0, looked_at=left)
    assert part.regions == [Region((0, 4, 2, 2), 2, 3.0)]
    assert Prediction(**made, map_threshold=None).regions is None


def test_certainty_is_the_share_of_good_images_that_score_as_high() -> None:
    made: dict[str, Any] = {
        "path": Path("a.png"),
        "threshold": 0.5,
        "max_value": 0.0,
        "anomaly_map": drawn(),
        "map_threshold": None,
    }
    good = [0.1, 0.2, 0.2, 0.4]
    shares = [
        Prediction(**made, pred_score=score, good_scores=good).good_above for score in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    ]
    assert shares == [1.0, 1.0, 0.75, 0.25, 0.25, 0.0]
    assert Prediction(**made, pred_score=0.3).good_above is None
