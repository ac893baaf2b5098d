"""The metrics by name, and the record of an evaluation. What each of them is: docs/metrics.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

METRICS: Final = (
    "pixel_auroc",
    "pixel_aupro",
    "pixel_ap",
    "pixel_f1max",
    "image_auroc",
    "image_ap",
    "image_f1max",
)
"""The metrics of a class, as fractions between 0 and 1, in the order of every table."""

_WORDS: Final = {"auroc": "AUROC", "aupro": "AUPRO", "ap": "AP", "f1max": "F1-max"}

Values = dict[str, float | None]


class ClassResult(NamedTuple):
    """What was measured on one class: values, why some are None, and points of the "roc" and "pro" curves."""

    values: Values
    undefined: dict[str, str]
    curves: dict[str, list[list[float]]]


def heading(metric: str) -> str:
    """A metric's name as it stands in tables: "pixel F1-max"; of what is measured, and then what."""
    return " ".join(_WORDS.get(word, word) for word in metric.split("_"))


def results(classes: Mapping[str, ClassResult]) -> dict[str, Any]:
    """`{"classes": {class: values}, "mean": values, "undefined": {class: {metric: reason}}}`, as in metrics.json.

    A class whose metrics all have a value is not among the undefined ones.
    """
    values = {name: found.values for name, found in classes.items()}
    undefined = {name: found.undefined for name, found in classes.items() if found.undefined}
    return {"classes": values, "mean": mean_metrics(values), "undefined": undefined}


def mean_metrics(per_class: Mapping[str, Mapping[str, float | None]]) -> Values:
    """Mean of each of `METRICS` over the classes where it is defined; None where it is defined in no class."""
    means: Values = {}
    for metric in METRICS:
        defined = [value for values in per_class.values() if (value := values.get(metric)) is not None]
        means[metric] = sum(defined) / len(defined) if defined else None
    return means
