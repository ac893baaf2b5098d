"""Three rules that know nothing: what a picture gives away before anything is trained.

A figure that does not beat them says little about the training. Each rule sees one image and no other. Two look at
pixels, and one, `patch_distance`, at frozen features of patches. The smoothing is a fraction of the image's side, so
that the figures of the two hardly depend on the size at which the image is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped, UInt8
from scipy.ndimage import gaussian_filter

from ..contracts.data import DataSet
from ..data.decoded import read_picture_and_mask
from ..distributed.collectives import all_gather_object
from ..distributed.ranks import ALONE, Ranks
from .class_metrics import ClassMetrics, ClassResult, results
from .patch_distance import PatchDistance, RuleBatch

_GREY_WEIGHTS: Final = np.array([0.299, 0.587, 0.114], np.float32)
_DARKNESS_BLUR: Final = 1 / 192
_DISTANCE_BLUR: Final = 1 / 48

Image = UInt8[np.ndarray, "H W 3"]
Map = Float32[np.ndarray, "H W"]


def darkness(image: Image) -> Map:
    """Negative grey value (ITU-R BT.601 weights), Gaussian blur with a sigma of 1/192 of the image's side."""
    return _blurred(-(image.astype(np.float32) @ _GREY_WEIGHTS), _DARKNESS_BLUR)


def colour_distance(image: Image) -> Map:
    """Distance of each pixel from the image's mean colour, in standard deviations, blurred with 1/48 of the side.

    The standard deviation is the root of the mean squared distance; an image of one colour scores 0 everywhere.
    """
    pixels = image.astype(np.float32)
    distance = np.linalg.norm(pixels - pixels.mean(axis=(0, 1), dtype=np.float64).astype(np.float32), axis=-1)
    deviation = math.sqrt(float(np.mean(np.square(distance), dtype=np.float64)))
    return _blurred(distance / deviation if deviation > 1e-3 else np.zeros_like(distance), _DISTANCE_BLUR)


RULES: Final[Mapping[str, Callable[[Image], Map]]] = {"darkness": darkness, "colour_distance": colour_distance}
"""The rules that look at pixels."""

PATCH_DISTANCE: Final = "patch_distance"


def image_score(anomaly_map: Map) -> float:
    """The score of an image under a rule of pixels: the maximum of its map."""
    return float(anomaly_map.max())


class LabelledImage(NamedTuple):
    """An image as `uint8 [H, W, 3]`, its label and its mask of the same size (None: no anomalous pixel is marked).

    What a mask has below 0 is left out.
    """

    image: Image
    label: int
    mask: Shaped[np.ndarray, "H W"] | None


def rule_metrics(
    classes: Mapping[str, Iterable[LabelledImage]],
    patches: Mapping[str, Iterable[RuleBatch]] | None = None,
    *,
    undefined_as_zero: bool = False,
    ranks: Ranks = ALONE,
) -> dict[str, dict[str, Any]]:
    """Return `{rule: results}` for every rule, in the form that `results` gives a model's.

    `patches` has the maps and scores of `patch_distance` for each class; without it the rules are those of pixels.

    The pixel metrics of a class need a mask for each of its anomalous images and are None otherwise. Each iterable
    is read once, one class after another, so that images can be read as they are needed. Of several ranks, each looks
    at its share of the classes.
    """
    own = {
        name: _class_results(classes[name], None if patches is None else patches[name], undefined_as_zero)
        for name in ranks.own(tuple(classes))
    }
    whole = {name: per_rule for part in all_gather_object(ranks, own) for name, per_rule in part.items()}
    rules = RULES if patches is None else (*RULES, PATCH_DISTANCE)
    return {rule: results({name: per_rule[rule] for name, per_rule in whole.items()}) for rule in rules}


def _class_results(
    images: Iterable[LabelledImage], patches: Iterable[RuleBatch] | None, undefined_as_zero: bool
) -> dict[str, ClassResult]:
    per_rule = {rule: ClassMetrics(undefined_as_zero) for rule in RULES}
    for image, label, mask in images:
        for rule, metrics in per_rule.items():
            anomaly_map = RULES[rule](image)
            metrics.update([anomaly_map], [mask], np.array([image_score(anomaly_map)]), np.array([label]))
    if patches is not None:
        per_rule[PATCH_DISTANCE] = ClassMetrics(undefined_as_zero)
        for batch in patches:
            per_rule[PATCH_DISTANCE].update(*batch)
    return {rule: metrics.result() for rule, metrics in per_rule.items()}


def _blurred(values: Map, fraction: float) -> Map:
    side = math.sqrt(values.shape[0] * values.shape[1])
    return gaussian_filter(values, side * fraction, mode="reflect")


def rule_images(data: DataSet, size: int) -> dict[str, Iterator[LabelledImage]]:
    """Images and masks of each class as the rules of pixels see them, read one at a time."""
    return {name: _labelled(data, name, size) for name in data.classes}


def patch_batches(data: DataSet, rule: PatchDistance) -> dict[str, Iterator[RuleBatch]]:
    """What `patch_distance` says of each class, a batch at a time, computed as it is asked for."""
    return {name: rule.batches(data, name) for name in data.classes}


def _labelled(data: DataSet, name: str, size: int) -> Iterator[LabelledImage]:
    for sample in (sample for sample in data.samples if sample.class_name == name):
        picture, mask = read_picture_and_mask(sample, size)
        yield LabelledImage(picture, sample.label, mask)
