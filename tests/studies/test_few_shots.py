"""Draws of references: which images, in how many walks, and means with intervals over them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from aaclip_kit import DataSet, NormalScores, Sample
from aaclip_kit.contracts.data import Shots
from aaclip_kit.data.scan import scan_dataset
from aaclip_kit.data.splits import draw_shots
from aaclip_kit.evaluation.class_metrics import METRICS
from aaclip_kit.evaluation.references import Memory
from aaclip_kit.studies.few_shots import _COUNTS, Draws, _walks, drawn, new_class
from aaclip_kit.studies.shots_record import curve_of, mean_curve

from ..conftest import write_class
from ..helpers import assert_close

DRAWS = Draws((7, 8, 9), (1, 4))


def test_the_first_images_of_a_draw_are_those_that_shots_draws(tmp_path: Path) -> None:
    write_class(tmp_path, "wood", 1, seed=5)
    good = sorted((tmp_path / "wood" / "test" / "good").iterdir())
    scan = scan_dataset(DataSet(tuple(Sample(path, "wood", 0) for path in good), {"wood": "wood"}))
    for seed in (0, 1, 111):
        for number in range(1, len(good) + 1):
            wanted = draw_shots(scan, Shots(normal=number, anomalous=0), seed, "data.reference").data.samples
            assert set(drawn(scan.data.samples, seed)[:number]) == set(wanted)


def memory(numbers: int) -> Memory:
    normal = NormalScores(grid_mean=0.0, grid_deviation=1.0, image_mean=0.0, image_deviation=1.0)
    return Memory({"patches": torch.zeros(numbers, dtype=torch.uint8)}, normal)


def test_a_walk_has_as_many_draws_as_there_is_room_for_and_one_at_least() -> None:
    draws = [{(seed, 1): memory(100)} for seed in range(5)]
    each = _COUNTS + 100
    assert [len(walk) for walk in _walks(iter(draws), 2 * each)] == [2, 2, 1]
    assert [len(walk) for walk in _walks(iter(draws), 2 * each - 1)] == [1] * 5
    assert [len(walk) for walk in _walks(iter(draws), 5 * each)] == [5]


def values(value: float | None) -> dict[str, float | None]:
    return dict.fromkeys(METRICS, value)


def measured(scores: dict[int, list[float | None]], zero_shot: float = 0.5) -> dict[str, Any]:
    """A class with these scores of "both" by number of images, one a draw; the memory alone has half of each."""
    of = new_class(10)
    of["zero_shot"] = values(zero_shot)
    for number, row in scores.items():
        for seed, value in zip(DRAWS.seeds, row, strict=False):
            half = None if value is None else value / 2
            kinds = {"both": values(value), "memory": values(half)}
            of["draws"].setdefault(str(seed), {})[str(number)] = kinds
    return of


def test_a_point_is_the_mean_over_the_draws_with_students_interval() -> None:
    curve = curve_of(measured({1: [0.7, 0.8, 0.9], 4: [0.9, 0.9, 0.9]}), DRAWS)
    both, half = curve["1"]["both"]["pixel_auroc"], 4.302653 * 0.1 / 3**0.5  # the t quantile of two degrees of freedom
    assert_close([both["mean"], both["low"], both["high"]], [0.8, 0.8 - half, 0.8 + half])
    assert_close(curve["1"]["memory"]["image_auroc"]["mean"], 0.4)
    assert_close([curve["4"]["both"]["image_ap"][end] for end in ("low", "high")], [0.9, 0.9])
    assert curve["0"]["zero_shot"]["pixel_auroc"] == {"mean": 0.5, "low": None, "high": None, "draws": 1}


def test_one_draw_has_no_interval_and_an_undefined_metric_no_mean() -> None:
    curve = curve_of(measured({1: [0.7], 4: [None]}), Draws((7,), (1, 4)))
    assert curve["1"]["both"]["pixel_auroc"] == {"mean": 0.7, "low": None, "high": None, "draws": 1}
    assert curve["4"]["both"]["pixel_auroc"] == {"mean": None, "low": None, "high": None, "draws": 0}


def test_the_interval_of_the_mean_of_classes_is_over_the_means_of_each_draw() -> None:
    one, other = measured({1: [0.7, 0.8, 0.9]}), measured({1: [0.9, 0.8, 0.7]}, zero_shot=0.7)
    curve = mean_curve([one, other], DRAWS)
    assert_close([curve["1"]["both"]["pixel_auroc"][end] for end in ("mean", "low", "high")], [0.8, 0.8, 0.8])
    assert_close(curve["0"]["zero_shot"]["pixel_auroc"]["mean"], 0.6)


def test_the_mean_of_classes_leaves_out_numbers_that_one_of_them_lacks() -> None:
    one, other = measured({1: [0.7, 0.8, 0.9], 4: [0.9, 0.9, 0.9]}), measured({1: [0.9, 0.8, 0.7]})
    assert list(mean_curve([one, other], DRAWS)) == ["0", "1"]


@pytest.mark.parametrize("numbers", [[4, 0, 1], [1, 4]])
def test_numbers_ascend_and_seeds_are_the_experiments_and_those_after_it(numbers: list[int]) -> None:
    assert Draws.of(numbers, 3, 7) == DRAWS
    assert replace(DRAWS, seeds=(7,)) == Draws.of(numbers, 1, 7)
