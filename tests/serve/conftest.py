"""A trained model, and the service of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aaclip_kit import TrainedModel, load_model
from aaclip_kit.checkpoints.stored_thresholds import Thresholds, stored_thresholds
from aaclip_kit.inference.score_images import Scoring

from .running import Running, running


@pytest.fixture(scope="module")
def model(trained: Path) -> TrainedModel:
    return load_model(trained, device="cpu")


@pytest.fixture(scope="module")
def thresholds(model: TrainedModel, images: list[Path]) -> Thresholds:
    """In the middle of the images' scores, and above most of their maps."""
    found = list(model.predict_all(images))
    image = float(np.median([one.pred_score for one in found]))
    return replace(
        stored_thresholds(model.trained), image=image, map=float(np.quantile([one.anomaly_map for one in found], 0.9))
    )


@pytest.fixture(scope="module")
def served(model: TrainedModel, thresholds: Thresholds) -> Iterator[Running]:
    with running(model, scoring=Scoring(thresholds=thresholds)) as found:
        yield found


@pytest.fixture(scope="module")
def images(defects: Path) -> list[Path]:
    return sorted((defects / "green_wood" / "test").rglob("*.png"))
