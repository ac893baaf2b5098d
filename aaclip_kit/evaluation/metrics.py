"""Ranking metrics on pixels and images. A metric that has no value, for want of one of the two labels, is None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float, Int

METRICS: Final = ("pixel_auroc", "pixel_ap", "image_auroc", "image_ap")
"""The metrics of a class, as fractions between 0 and 1, in the order of every table."""

Scores = Float[np.ndarray, "*n"]
Labels = Bool[np.ndarray, "*n"] | Int[np.ndarray, "*n"]
Values = dict[str, float | None]


def auroc(scores: Scores, labels: Labels) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting one half.

    Non-zero labels are positive. None where only one label occurs. Raises ValueError for NaN scores.
    """
    split = _sorted_by_label(scores, labels)
    return None if split is None else _auroc(*split)


def average_precision(scores: Scores, labels: Labels) -> float | None:
    """Average precision: precision at each distinct threshold, weighted with the recall that it adds.

    Nothing is interpolated. Non-zero labels are positive. None where only one label occurs. Raises ValueError for
    NaN scores.
    """
    split = _sorted_by_label(scores, labels)
    return None if split is None else _average_precision(*split)


def class_metrics(
    maps: Sequence[Float[np.ndarray, "_ _"]] | Float[np.ndarray, "n _ _"],
    masks: Sequence[Bool[np.ndarray, "_ _"]] | Bool[np.ndarray, "n _ _"] | None,
    image_scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    has_masks: bool = True,
    *,
    undefined_as_zero: bool = False,
) -> Values:
    """Return every one of `METRICS` for the images of one class; a list of maps and masks where image sizes differ.

    The pixel metrics rank all pixels of the class together and are None without masks. `undefined_as_zero` gives
    0 for the image metrics of a class with one label, as the published evaluation does (method: section 9, row 12).
    Raises ValueError for NaN scores and for a mask that has not its map's size.
    """
    values: Values = dict.fromkeys(METRICS)
    if has_masks and masks is not None:
        pixels = _sorted_by_label(*_all_pixels(maps, masks))
        if pixels is not None:
            values["pixel_auroc"], values["pixel_ap"] = _auroc(*pixels), _average_precision(*pixels)
    images = _sorted_by_label(image_scores, labels)
    if images is not None:
        values["image_auroc"], values["image_ap"] = _auroc(*images), _average_precision(*images)
    elif undefined_as_zero:
        values["image_auroc"] = values["image_ap"] = 0.0
    return values


def mean_metrics(per_class: Mapping[str, Mapping[str, float | None]]) -> Values:
    """Mean of each of `METRICS` over the classes where it is defined; None where it is defined in no class."""
    means: Values = {}
    for metric in METRICS:
        defined = [value for values in per_class.values() if (value := values.get(metric)) is not None]
        means[metric] = sum(defined) / len(defined) if defined else None
    return means


def _all_pixels(
    maps: Sequence[np.ndarray] | np.ndarray, masks: Sequence[np.ndarray] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    for index, (anomaly_map, mask) in enumerate(zip(maps, masks, strict=True)):
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"image {index}: mask {mask.shape} has not the size of its map {anomaly_map.shape}")
    if not len(maps):
        return np.zeros(0, np.float32), np.zeros(0, bool)
    return np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])


def _sorted_by_label(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    # Two sorted arrays of values need a third of the memory of an argsort, and no permutation of the labels.
    if scores.shape != labels.shape:
        raise ValueError(f"{scores.shape} scores for {labels.shape} labels")
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN")
    positive = labels.astype(bool, copy=False)
    positives, negatives = scores[positive], scores[~positive]
    if not positives.size or not negatives.size:
        return None
    positives.sort()
    negatives.sort()
    return positives, negatives


def _auroc(positives: np.ndarray, negatives: np.ndarray) -> float:
    values, counts = np.unique(positives, return_counts=True)
    below = np.searchsorted(negatives, values, side="left").astype(np.int64)
    not_above = np.searchsorted(negatives, values, side="right").astype(np.int64)
    # Integers, so that the area is exact however many pixels there are (twice the number of ordered pairs).
    pairs = int(np.dot(below + not_above, counts.astype(np.int64)))
    return pairs / (2 * positives.size * negatives.size)


def _average_precision(positives: np.ndarray, negatives: np.ndarray) -> float:
    values, counts = np.unique(positives, return_counts=True)
    true_positives = np.cumsum(counts[::-1])[::-1]
    false_positives = negatives.size - np.searchsorted(negatives, values, side="left")
    precision = true_positives / (true_positives + false_positives)
    return float(np.dot(precision, counts) / positives.size)
