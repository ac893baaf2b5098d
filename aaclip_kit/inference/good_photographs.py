"""Thresholds chosen on good photographs at a rate of false alarms, and what they find of bad ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from ..contracts.errors import UserError
from ..evaluation.auroc import auroc
from ..evaluation.calibration import Calibration, Rates, kept_scores
from ..evaluation.evaluator import Evaluator
from ..evaluation.f1_max import rates_at
from ..evaluation.false_alarms import NEXT, FalseAlarms, at_rank, images_needed, largest_rank
from ..evaluation.histogram import Histogram
from .photographs import Photographs
from .tiled import as_wholes, rows_of

RATE: Final = 0.02
"""Share of false alarms that is aimed at where none is asked for."""

_RATES: Final = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""Shares that people ask for."""


@dataclass(frozen=True)
class PhotographScores:
    """Image score and largest map value of photographs, in their order."""

    images: tuple[float, ...]
    peaks: tuple[float, ...]


@dataclass(frozen=True)
class Chosen:
    """Thresholds, what the image's promises, and what is found of bad images, None where there are none."""

    calibration: Calibration
    promise: FalseAlarms
    found: int | None = None
    auroc: float | None = None


def rank_for(images: int, rate: float | None) -> int:
    """Return which of the largest scores a threshold lies above, so that no larger share of false alarms is expected.

    Without a rate it is `RATE`, or the least that so few images can show. Raises `UserError` for a rate below that.
    """
    rank = largest_rank(images, rate or RATE)
    if rank or rate is None:
        return max(rank, 1)
    least = 1 / (images + 1)
    problem = f"{images} photographs cannot show a rate of {rate:.2%}: the least that they can is {least:.2%}"
    fix = f"give {images_needed(rate):,} photographs of good parts, or --false-alarms {math.ceil(1e3 * least) / 1e3:g}"
    raise UserError(problem, where="--false-alarms", fix=fix)


def choose(
    good: PhotographScores, bad: PhotographScores | None, *, rank: int, folder: Path, name: str, how: str
) -> Chosen:
    """Put both thresholds above as many good images, those of the image score and of the largest map value.

    `name` is what the images are of; `folder` and `how` say where their scores are from.
    """
    promise = at_rank(good.images, rank)
    others = () if bad is None else bad.images
    counts = Histogram()
    counts.add(np.array([*good.images, *others], np.float32), np.repeat([False, True], [len(good.images), len(others)]))
    fpr, f1 = rates_at(counts, promise.threshold)
    none: Rates = {"fpr": None, "f1": None}
    calibration = Calibration(
        rule="false_alarms",
        fpr=promise.expected,
        source=f"folder {folder.resolve().name}, {how}",
        counts={"normal": counts.negatives, "anomalous": counts.positives},
        image_threshold=promise.threshold,
        map_threshold=at_rank(good.peaks, rank).threshold,
        achieved={"image": {"fpr": fpr, "f1": f1}, "map": none},
        classes=[name],
        expected=promise.interval,
        normal_scores=kept_scores(good.images),
    )
    found = None if bad is None else sum(score >= promise.threshold for score in others)
    return Chosen(calibration, promise, found, auroc(counts))


def scored(
    evaluator: Evaluator, photographs: Photographs, before_each: Callable[[], None] = lambda: None
) -> PhotographScores:
    """Score photographs with untrained weights as `aakit predict` does; `before_each` is called for each."""
    data, pixels = photographs.parts, replace(evaluator.pixels, decoded=photographs.decoded)
    images, peaks = list[float](), list[float]()
    for name in data.classes:
        batches = replace(evaluator, pixels=pixels).scored_batches(data, name, frozenset(), trained=False)
        for one in as_wholes(rows_of(batches), evaluator, photographs.decoded, photographs.size_of):
            before_each()
            images.append(one.score)
            peaks.append(one.peak)
    return PhotographScores(tuple(images), tuple(peaks))


def in_words(chosen: Chosen) -> list[str]:
    """What to expect of a threshold: false alarms among further good parts, and which rate cannot be promised."""
    promise = chosen.promise
    low, high = promise.of_next
    lines = [f"of {NEXT} good parts {low} to {high} will be called bad, from {promise.images} photographs"]
    if below := next((rate for rate in _RATES if rate < 1 / (promise.images + 1)), None):
        lines.append(f"{100 * below:g} % cannot be promised from so few: that takes {images_needed(below):,}")
    return lines


def found_at_other_rates(good: PhotographScores, bad: PhotographScores, rank: int) -> dict[float, int]:
    """Return how many bad images would be found at larger rates of false alarms, such as people ask for."""
    ranks = {rate: largest_rank(len(good.images), rate) for rate in reversed(_RATES)}
    thresholds = {rate: at_rank(good.images, other).threshold for rate, other in ranks.items() if other > rank}
    return {rate: sum(score >= threshold for score in bad.images) for rate, threshold in thresholds.items()}
