"""Which test images are kept, and which of them are shown by what rule."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from aaclip_kit import DataSet, Sample
from aaclip_kit.evaluation.auroc import average_precision
from aaclip_kit.evaluation.evaluator import ScoredBatch
from aaclip_kit.evaluation.histogram import Histogram
from aaclip_kit.report import examples as module
from aaclip_kit.report.examples import Examples, pixel_ap, spread

from ..helpers import assert_close

SIDE = 4


def sample(name: str, place: int, label: Literal[0, 1], masked: bool = True) -> Sample:
    return Sample(Path(f"{name}{place}.png"), name, label, Path("mask.png") if label and masked else None)


def data_of(*counts: tuple[str, int, int], masked: bool = True) -> DataSet:
    """Classes with so many normal images, then so many anomalous ones."""
    samples = [
        sample(name, place, 1 if place >= normal else 0, masked)
        for name, normal, anomalous in counts
        for place in range(normal + anomalous)
    ]
    return DataSet(tuple(samples), {name: name for name, _, _ in counts})


def batch_of(samples: list[Sample], qualities: list[float], offset: float = 0.0) -> ScoredBatch:
    """The first row of each mask is anomalous; of a map with quality q, the part q of that row is above all else."""
    masks = np.zeros((len(samples), SIDE, SIDE), bool)
    maps = np.zeros((len(samples), SIDE, SIDE), np.float32)
    for place, (one, quality) in enumerate(zip(samples, qualities, strict=True)):
        masks[place, 0] = one.label == 1 and one.mask is not None
        maps[place, 0, : round(quality * SIDE)] = 1
    numbers = np.array([float(one.image.stem[-1]) for one in samples], np.float32) + np.float32(offset)
    grids = numbers[:, None, None] * np.ones((2, 2), np.float32)
    return ScoredBatch(
        samples=tuple(samples), masks=masks, grid=grids, maps=maps,
        detection=numbers, peaks=numbers, image_scores=numbers,
    )  # fmt: skip


def fed(data: DataSet, most: int, qualities: dict[str, list[float]], loops: int = 1, batch: int = 3) -> Examples:
    examples = Examples(data, most)
    for loop in range(1, loops + 1):
        keep = examples.keeper(loop)
        for name in data.classes:
            samples = [one for one in data.samples if one.class_name == name]
            for first in range(0, len(samples), batch):
                part = slice(first, first + batch)
                keep(name, batch_of(samples[part], qualities[name][part], 10.0 * loop))
    return examples


def names(examples: Examples, places: list[int]) -> list[str]:
    return [examples.samples[place].image.stem for place in places]


def test_places_are_spread_evenly() -> None:
    assert spread(range(10), 4) == [1, 3, 6, 8]
    assert spread(range(10), 1) == [5]
    assert spread(range(3), 10) == [0, 1, 2]
    assert spread([], 4) == []
    assert spread(range(5), 0) == []
    assert spread(range(10), 2, 0.9) == [4, 9]


def test_classes_show_other_places_of_their_order() -> None:
    data = data_of(*((name, 0, 8) for name in "abcd"))
    examples = fed(data, 4, {name: [0.5] * 8 for name in "abcd"})
    assert names(examples, examples.even()) == ["a1", "b3", "c5", "d7"]


def test_evenly_spaced_cases_take_classes_in_turn_and_both_labels_whatever_the_scores() -> None:
    data = data_of(("a", 3, 5), ("b", 2, 1))
    for quality in (0.0, 1.0):
        examples = fed(data, 5, {"a": [quality] * 8, "b": [quality] * 3})
        assert names(examples, examples.even()) == ["a3", "b2", "a0", "b0", "a6"]
        examples = fed(data, 4, {"a": [quality] * 8, "b": [quality] * 3})
        assert names(examples, examples.even()) == ["a4", "b2", "a0", "b1"]


def test_where_one_label_or_class_is_short_the_others_fill_its_places() -> None:
    examples = fed(data_of(("a", 0, 7), ("b", 1, 0)), 6, {"a": [0.5] * 7, "b": [0.0]})
    assert sorted(names(examples, examples.even())) == ["a0", "a1", "a3", "a4", "a5", "b0"]


def test_best_median_and_worst_by_the_images_own_pixel_ap_and_normal_ones_by_their_score() -> None:
    data = data_of(("a", 1, 3), ("b", 2, 1))
    examples = fed(data, 2, {"a": [0, 0.25, 1.0, 0.5], "b": [0, 0, 0.75]}, loops=2)
    ranked = examples.ranked(2)
    assert {reason: examples.samples[place].image.stem for reason, place in ranked.items()} == {
        "best anomalous": "a2",
        "median anomalous": "b2",
        "worst anomalous": "a1",
        "best normal": "a0",
        "median normal": "b0",
        "worst normal": "b1",
    }
    # By hand: 1 of 4 marked pixels stands above the 15 others, which tie: AP = 1/4 + 3/4 * 4/16.
    assert_close(examples.loops[1].quality[ranked["worst anomalous"]], 0.25 + 0.75 * 0.25)
    assert examples.loops[1].quality[ranked["best normal"]] is None


@pytest.mark.parametrize("levels", [3, 10**6])
def test_an_images_average_precision_is_that_of_the_metrics(levels: int) -> None:
    random = np.random.default_rng(0)
    anomaly_map = random.integers(0, levels, (20, 20)).astype(np.float32)
    mask = random.random((20, 20)) > 0.8
    counts = Histogram()
    counts.add(anomaly_map.ravel(), mask.ravel())
    assert_close(pixel_ap(anomaly_map, mask), average_precision(counts))
    assert pixel_ap(anomaly_map, np.zeros_like(mask)) is None
    assert pixel_ap(anomaly_map, np.ones_like(mask)) is None


def test_anomalous_images_without_masks_are_ranked_by_their_score() -> None:
    examples = fed(data_of(("a", 1, 3), masked=False), 4, {"a": [0.0] * 4})
    assert [names(examples, [examples.ranked(1)[f"{rank} anomalous"]]) for rank in ("best", "median", "worst")] == [
        ["a3"], ["a2"], ["a1"],
    ]  # fmt: skip


def test_one_image_may_be_best_and_worst_and_a_missing_label_is_left_out() -> None:
    examples = fed(data_of(("a", 0, 1)), 4, {"a": [0.5]})
    assert examples.ranked(1) == {"best anomalous": 0, "median anomalous": 0, "worst anomalous": 0}


def test_what_is_kept_is_bounded_evenly_spread_and_of_the_right_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_OF_A_CLASS", 4)
    monkeypatch.setattr(module, "MOST_OF_ALL", 7)
    data = data_of(("a", 5, 5), ("b", 1, 1))
    examples = fed(data, 9, {"a": [0.5] * 10, "b": [0.5] * 2}, loops=2)
    assert names(examples, list(range(len(examples.samples)))) == ["a1", "a5", "a8", "b0", "b1"]
    for outcome in examples.loops:
        assert_close([grid[0, 0] for grid in outcome.grids], np.array([1, 5, 8, 0, 1], np.float32) + 10 * outcome.loop)
        assert outcome.scores == [10 * outcome.loop + number for number in (1, 5, 8, 0, 1)]
    assert len(examples.even()) == 5


def test_the_colour_scale_spans_all_loops() -> None:
    examples = fed(data_of(("a", 2, 2)), 4, {"a": [0.5] * 4}, loops=2)
    values = np.repeat([10.0, 11, 12, 13, 20, 21, 22, 23], 4)
    assert_close(examples.scale(), np.quantile(values, [0.01, 0.995]).tolist())


def test_without_pictures_nothing_is_kept() -> None:
    examples = fed(data_of(("a", 2, 2)), 0, {"a": [0.5] * 4})
    assert (examples.samples, examples.loops[0].grids, examples.even(), examples.ranked(1)) == ([], [], [], {})
