"""Predictions of many images: memory holds a block of them."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import TrainedModel, load_model
from aaclip_kit.checkpoints.stored_thresholds import Thresholds
from aaclip_kit.data.manifests import Listed
from aaclip_kit.inference import score_table
from aaclip_kit.inference.predictions import write_predictions
from aaclip_kit.inference.score_images import Scoring
from aaclip_kit.report import contact_sheet


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainedModel, "block_size", 4)
    monkeypatch.setattr(score_table, "MOST_WORST", 4)
    monkeypatch.setattr(contact_sheet, "MOST_PICTURES", 1)
    model, scoring = load_model(trained, device="cpu"), Scoring(thresholds=Thresholds(0.5, 1.0))
    pixels = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    for number in range(64):
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number:03}.png")
    images = [Listed(path) for path in sorted((tmp_path / "photos").iterdir())]

    def collect() -> None:
        """What nothing holds is not counted, whenever Python would have seen to it."""
        gc.collect()

    def peak(count: int, name: str) -> int:
        (tmp_path / name).mkdir()
        gc.freeze()  # what is there is not looked at each time
        tracemalloc.start()
        summary, tally = write_predictions(
            model, images[:count], scoring, faults=(), out=tmp_path / name, before_each=collect
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        gc.unfreeze()
        assert summary.images == tally.scored == count and len(summary.worst) == 4
        return most

    peak(4, "first")
    few, many = peak(16, "few"), peak(64, "many")
    assert many - few < 48 * 2000, "names alone are held of every image"
