"""The verdict: what a run found, in a few sentences that stand before its tables."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..evaluation.class_metrics import heading
from .results_section import of_rules
from .run_files import RunFiles, named

JUDGED: Final = ("image_auroc", "pixel_auroc")
"""Metrics that the verdict goes by."""


def verdict(run: RunFiles) -> list[str]:
    """What the reported weights are worth, what training changed, what knowing nothing is worth; [] without results."""
    quoted = run.quoted
    if not quoted or not (found := _known(quoted)):
        return []
    loop, classes = run.reported_loop, len(quoted["classes"])
    model = f"The weights after {named(loop)} have" if loop else "The model as it is, without training, has"
    figures = " and ".join(f"{heading(metric)} {value:.3f}" for metric, value in found.items())
    mean = f", the mean of {classes} classes" if classes > 1 else ""
    return [f"{model} {figures}{mean}.", *_of_training(run, found), *_of_best_rules(run, found)]


def _known(result: Mapping[str, Any]) -> dict[str, float]:
    mean = result.get("mean") or {}
    return {metric: mean[metric] for metric in JUDGED if mean.get(metric) is not None}


def _of_training(run: RunFiles, found: Mapping[str, float]) -> Iterator[str]:
    before = _known(run.metrics.get("before") or {})
    if run.reported_loop and (both := [metric for metric in found if metric in before]):
        changes = " and ".join(_change(metric, found[metric], before[metric]) for metric in both)
        yield f"Training changed {changes}."


def _change(metric: str, value: float, before: float) -> str:
    return f"{heading(metric)} by {round(value, 3) - round(before, 3):+.3f} from {before:.3f}"


def _of_best_rules(run: RunFiles, found: Mapping[str, float]) -> Iterator[str]:
    """The best of the rules that know nothing, by each metric, which may be another one."""
    parts = []
    for metric in found:
        if values := of_rules(run.metrics, metric):
            best = max(values, key=lambda name: values[name])
            parts.append(f"{heading(metric)} {values[best]:.3f} ({best})")
    if parts:
        yield f"The best rule that knows nothing has {' and '.join(parts)}."
