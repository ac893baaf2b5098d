"""The metrics of one class, from images that are seen once and not kept. Parts can be saved, sent and added."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

from .aupro import aupro, pro_curve, region_weights
from .auroc import auroc, average_precision, roc
from .f1_max import f1_max
from .histogram import CAPACITY, Histogram, counted_pixels

Map = Float[np.ndarray, "_ _"]
Mask = Shaped[np.ndarray, "_ _"]
"""Of any numbers: anomalous above 0, normal at 0, and below 0 left out."""
Maps = Float[np.ndarray, "n _ _"] | Sequence[Map]
Masks = Shaped[np.ndarray, "n _ _"] | Sequence[Mask | None]


class ClassMetrics:
    """Running counts of one class, and every one of `METRICS` of them.

    Scores are counted as they are; nothing is normalised by the test set. Memory does not grow with the number of
    images. `undefined_as_zero` gives 0 for the image metrics of a class with one label, as the published evaluation
    does (method: section 9, row 12).
    """

    def __init__(self, undefined_as_zero: bool = False, capacity: int = CAPACITY) -> None:
        self.undefined_as_zero = undefined_as_zero
        self.pixels, self.images = Histogram(capacity), Histogram(capacity)
        self.masked, self.unmasked, self.blank = 0, 0, 0
        """Anomalous images with and without a mask, and those whose mask has no anomalous pixel at the map's size."""

    def update(
        self, maps: Maps, masks: Masks | None, image_scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]
    ) -> None:
        """Count images: their maps, masks (None: a normal image, or one that lacks its mask), scores and labels.

        Raises ValueError for NaN, for a mask that has not its map's size, and, before anything is counted, where these
        are not of as many images.
        """
        given = {"maps": maps, "masks": labels if masks is None else masks, "scores": image_scores, "labels": labels}
        counts = {name: len(part) for name, part in given.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"not of as many images: {', '.join(f'{count} {name}' for name, count in counts.items())}")
        self.update_pixels(maps, masks, labels)
        self.update_images(image_scores, labels)

    def update_pixels(self, maps: Maps, masks: Masks | None, labels: Int[np.ndarray, " n"]) -> None:
        """Count the pixels alone. An anomalous image without a mask is noted, and the pixel metrics are undefined."""
        for index, (anomaly_map, label) in enumerate(zip(maps, labels, strict=True)):
            mask = None if masks is None else masks[index]
            if label and mask is None:
                self.unmasked += 1
                continue
            mask = np.zeros(anomaly_map.shape, bool) if mask is None else np.asarray(mask)
            if np.isnan(mask).any():
                raise ValueError(f"image {index}: the mask contains NaN")
            weights = region_weights(mask)
            self.masked += bool(label)
            self.blank += bool(label) and not len(weights)
            try:
                self.pixels.add(*counted_pixels(anomaly_map, mask), weights)
            except ValueError as error:
                raise ValueError(f"image {index}: {error}") from None

    def update_images(self, image_scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> None:
        """Count the image scores alone. Warns where some differ in float64 and are ties in float32, as they count."""
        if (lost := len(np.unique(image_scores)) - len(np.unique(image_scores.astype(np.float32)))) > 0:
            warnings.warn(f"{lost} image scores differ from others in float64 alone and count as ties", stacklevel=2)
        self.images.add(image_scores, labels)

    def merge(self, other: ClassMetrics) -> None:
        """Add another's counts, which stays as it is."""
        self.pixels.merge(other.pixels)
        self.images.merge(other.images)
        self.masked += other.masked
        self.unmasked += other.unmasked
        self.blank += other.blank

    def state(self) -> dict[str, np.ndarray]:
        """All of it as arrays, for `numpy.savez` or another process."""
        parts = {"pixels": self.pixels.state(), "images": self.images.state()}
        arrays = {f"{part}.{name}": array for part, state in parts.items() for name, array in state.items()}
        return {**arrays, "masks": np.array([self.masked, self.unmasked, self.blank, self.undefined_as_zero])}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> ClassMetrics:
        """The counts that `state` came from."""
        *counts, zero = (int(number) for number in state["masks"])
        metrics = cls(bool(zero))
        metrics.masked, metrics.unmasked, metrics.blank = counts
        metrics.pixels, metrics.images = (
            Histogram.from_state({name: state[f"{part}.{name}"] for name in ("capacity", "shift", "keys", "sums")})
            for part in ("pixels", "images")
        )
        return metrics

    def result(self) -> ClassResult:
        """Everything that is written down about the class."""
        values, reasons = self.values(), {"pixel": self._pixel_reason(), "image": _one_label(self.images, "image")}
        undefined = {name: reasons[name.split("_")[0]] for name, value in values.items() if value is None}
        return ClassResult(values, undefined, self.curves(), self._part())

    def values(self) -> Values:
        """Every one of `METRICS`, as fractions between 0 and 1; None where it is undefined."""
        values: Values = dict.fromkeys(METRICS)
        if not self.unmasked:
            values["pixel_auroc"], values["pixel_aupro"] = auroc(self.pixels), aupro(self.pixels)
            values["pixel_ap"], values["pixel_f1max"] = average_precision(self.pixels), f1_max(self.pixels)
        values["image_auroc"] = auroc(self.images)
        values["image_ap"], values["image_f1max"] = average_precision(self.images), f1_max(self.images)
        if self.undefined_as_zero:
            values.update({name: values[name] or 0.0 for name in METRICS if name.startswith("image")})
        return values

    def curves(self) -> dict[str, list[list[float]]]:
        """Points `[false positive rate, hit rate]`; none where undefined.

        They are the pixels' "roc" and "pro", and the images' "image_roc".
        """
        curves = {
            "roc": None if self.unmasked else roc(self.pixels),
            "pro": None if self.unmasked else pro_curve(self.pixels),
            "image_roc": roc(self.images),
        }
        return {name: curve.points() if curve else [] for name, curve in curves.items()}

    def _part(self) -> str | None:
        """Of how many masks the pixel metrics are, where that is not all."""
        if not self.blank or self.unmasked:
            return None
        kept = self.masked - self.blank
        return f"{kept} of {self.masked} masks; the others have no anomalous pixel at the map's size"

    def _pixel_reason(self) -> str:
        if not self.unmasked:
            return _one_label(self.pixels, "pixel")
        if not self.masked:
            return "no masks"
        return f"no mask for {self.unmasked} of {self.masked + self.unmasked} anomalous images"


def _one_label(histogram: Histogram, what: str) -> str:
    if histogram.positives:
        return f"one label only: no normal {what}"
    return f"one label only: no anomalous {what}" if histogram.negatives else f"no {what}s"


METRICS: Final = ("pixel_auroc", "pixel_aupro", "pixel_ap", "pixel_f1max", "image_auroc", "image_ap", "image_f1max")
"""The metrics of a class, as fractions between 0 and 1, in the order of every table."""

_WORDS: Final = {"auroc": "AUROC", "aupro": "AUPRO", "ap": "AP", "f1max": "F1-max"}

Values = dict[str, float | None]


class ClassResult(NamedTuple):
    """What was measured on one class: values, why some are None, and points of the "roc" and "pro" curves.

    `part` says of how many masks the pixel metrics are, where it is not all of them.
    """

    values: Values
    undefined: dict[str, str]
    curves: dict[str, list[list[float]]]
    part: str | None = None


def heading(metric: str) -> str:
    """A metric's name as it stands in tables: "pixel F1-max"; of what is measured, and then what."""
    return " ".join(_WORDS.get(word, word) for word in metric.split("_"))


def results(classes: Mapping[str, ClassResult]) -> dict[str, Any]:
    """`{"classes": {class: values}, "mean": values, "undefined": {class: {metric: reason}}}`, as in metrics.json.

    A class whose metrics all have a value is not among the undefined ones. Where masks have no anomalous pixel at the
    map's size, "pixel_metrics_of" has for the class how many masks its pixel metrics are of.
    """
    values = {name: result.values for name, result in classes.items()}
    undefined = {name: result.undefined for name, result in classes.items() if result.undefined}
    parts = {name: result.part for name, result in classes.items() if result.part}
    record = {"classes": values, "mean": mean_metrics(values), "undefined": undefined}
    return {**record, "pixel_metrics_of": parts} if parts else record


def with_sets(record: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The same record; of several data sets, by label in `classes`, "sets" has the mean over the classes of each."""
    if len(classes) < 2:
        return {**record}
    means = {label: mean_metrics({name: record["classes"][name] for name in own}) for label, own in classes.items()}
    return {**record, "sets": means}


def mean_metrics(per_class: Mapping[str, Mapping[str, float | None]]) -> Values:
    """Mean of each of `METRICS` over the classes where it is defined; None where it is defined in no class."""
    means: Values = {}
    for metric in METRICS:
        defined = [value for values in per_class.values() if (value := values.get(metric)) is not None]
        means[metric] = sum(defined) / len(defined) if defined else None
    return means
