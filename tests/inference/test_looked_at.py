"""Masks of what is looked at: how they are read and joined, and what they leave of a map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import TrainedModel, UserError, load_model
from aaclip_kit.checkpoints.stored_thresholds import Thresholds
from aaclip_kit.data.manifests import Listed
from aaclip_kit.inference.looked_at import LookedAt, read_looked_at
from aaclip_kit.inference.score_images import Scoring, Tally, in_blocks


def saved(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def masks(tmp_path: Path) -> tuple[Path, Path]:
    """White on the left half; white in the upper half."""
    roi, ignore = np.zeros((20, 40), np.uint8), np.zeros((20, 40), np.uint8)
    roi[:, :20], ignore[:10] = 255, 255
    return saved(tmp_path / "roi.png", roi), saved(tmp_path / "ignore.png", ignore)


def test_what_is_white_in_one_and_not_in_the_other_is_looked_at(masks: tuple[Path, Path]) -> None:
    roi, ignore = masks
    both = read_looked_at(roi, ignore)
    assert both is not None and both.size == (40, 20) and both.share == 0.25
    assert both.pixels[10:, :20].all()
    assert read_looked_at(None, None) is None
    one, other = read_looked_at(roi, None), read_looked_at(None, ignore)
    assert one is not None and other is not None and one.share == other.share == 0.5 and one.digest != other.digest


def test_masks_that_cannot_be_used_are_told_of(masks: tuple[Path, Path], tmp_path: Path) -> None:
    roi, _ = masks
    refused = {
        "is no mask: 800 of its pixels are neither black nor white": (
            saved(tmp_path / "grey.png", np.full((20, 40), 128, np.uint8)), None,
        ),
        "leaves no pixel to look at": (roi, roi),
        "roi.png is 40 x 20 and .*small.png is 5 x 5 pixels": (
            roi, saved(tmp_path / "small.png", np.zeros((5, 5), np.uint8)),
        ),
        "there is no such file": (tmp_path / "none.png", None),
    }  # fmt: skip
    for problem, (one, other) in refused.items():
        with pytest.raises(UserError, match=problem) as raised:
            read_looked_at(one, other)
        assert "data" not in (raised.value.fix or "")


def test_the_largest_value_is_of_what_is_looked_at_also_where_that_is_tiny() -> None:
    maps = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    pixels = np.zeros((40, 80), bool)
    pixels[:10] = True
    assert LookedAt(pixels).peaks(maps).tolist() == [3.0]
    pixels[:] = False
    pixels[0, 0] = True
    assert LookedAt(pixels).peaks(maps).tolist() == [0.0]
    assert LookedAt(np.ones((40, 80), bool)).peaks(maps).tolist() == [15.0]


def test_scores_are_of_what_is_looked_at_and_images_of_another_size_are_faults(trained: Path, tmp_path: Path) -> None:
    model: TrainedModel = load_model(trained, device="cpu")
    random = np.random.default_rng(2)
    images = [
        saved(tmp_path / f"{width}.png", random.integers(0, 255, (20, width, 3), dtype=np.uint8)) for width in (40, 41)
    ]
    pixels = np.zeros((20, 40), bool)
    pixels[:, :8] = True
    found = {}
    for name, looked_at in (("all", None), ("part", LookedAt(pixels, ("roi.png",)))):
        scoring, tally = Scoring(thresholds=Thresholds(0.5, -1e9), looked_at=looked_at), Tally()
        listed = [Listed(image) for image in images]
        (block,) = in_blocks(model, listed, scoring, tally, skip=True, before_each=lambda: None)
        found[name] = list(block.predictions), [fault.problem for fault in block.faults]
    (whole, _), no_faults = found["all"]
    (part,), faults = found["part"]
    assert no_faults == [] and faults == ["is 41 x 20 pixels, and roi.png 40 x 20"]
    assert part.max_value < whole.max_value and part.pred_score < whole.pred_score
    assert whole.mask is not None and whole.mask.all()
    assert part.mask is not None and np.array_equal(part.mask, pixels)
