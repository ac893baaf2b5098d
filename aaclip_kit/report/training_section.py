"""Training: losses, gradient norms by group of weights, and validation figures, loop by loop."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

import numpy as np

from ..evaluation.aupro import FPR_LIMIT
from .figures import INK, Axes, Figure, Line, Points, line_figure, shades, styles, thinned
from .results_section import mean_line, metric_table
from .run_files import RunFiles, named

Series = dict[str, list[tuple[float, float]]]


def section(run: RunFiles) -> dict[str, Any]:
    """What `training.html` shows."""
    scored = (event for event in run.events if event.get("event") == "validation")
    validation = metric_table("loop", (mean_line(named(event["loop"]), "loop", event) for event in scored))
    return {"losses": loss_figures(run.events), "norms": norm_figures(run.events), "validation": validation}


def loss_figures(events: Iterable[Mapping[str, Any]]) -> list[Figure]:
    """One figure a phase, one line a loop."""
    figures = []
    for phase, loops in loss_curves(events).items():
        lines = [
            Line(f"loop {loop}", thinned(curve), colour)
            for (loop, curve), colour in zip(sorted(loops.items()), shades(len(loops)), strict=True)
        ]
        alt = f"Loss of the {phase} phase at each step, {len(lines)} loops. {_range(loops[max(loops)], 'last loop')}"
        figures.append(line_figure(f"{phase} phase: loss", alt, lines, Axes("step", "loss")))
    return figures


def loss_curves(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, list[tuple[float, float]]]]:
    """Return phase -> loop -> (step, loss), steps counted through all loops of a phase.

    Steps whose loss is null (not finite) are counted and left out of the curve.
    """
    curves: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for phase, steps in _phases(events).items():
        for count, event in enumerate(steps, start=1):
            curve = curves.setdefault(phase, {}).setdefault(int(event["loop"]), [])
            if event.get("loss") is not None:
                curve.append((float(count), float(event["loss"])))
    return curves


def norm_figures(events: Iterable[Mapping[str, Any]]) -> list[Figure]:
    """One figure a phase, one line a group of weights; loops are told apart by thin vertical lines."""
    figures = []
    for phase, steps in _phases(events).items():
        groups = _norms(steps)
        if not groups:
            continue
        lines = [
            Line(name, thinned(points), colour, dash=dash)
            for (name, points), (colour, dash) in zip(groups.items(), styles(), strict=False)
        ]
        loops = enumerate(pairwise(event["loop"] for event in steps), start=1)
        borders = tuple(place + 0.5 for place, (one, other) in loops if one != other)
        axes = Axes("step", "gradient norm", logarithmic=True, borders=borders)
        alt = f"Gradient norm of each group of weights in the {phase} phase, logarithmic. " + "; ".join(
            _range(points, name) for name, points in groups.items()
        )
        figures.append(line_figure(f"{phase} phase: gradient norms", alt, lines, axes))
    return figures


def _phases(events: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Step events by phase."""
    phases: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("event") == "step":
            phases.setdefault(str(event["phase"]), []).append(event)
    return phases


def _norms(steps: Iterable[Mapping[str, Any]]) -> Series:
    """(step, norm) by group; a norm of zero or null has no place on a logarithmic axis."""
    groups: Series = {}
    for count, event in enumerate(steps, start=1):
        for name, norm in (event.get("gradient_norms") or {}).items():
            points = groups.setdefault(name, [])
            if norm:
                points.append((float(count), float(norm)))
    # What is recorded as "text_head" are the prompts' own weights; a stage may have that name too.
    return groups if "prompts" in groups else {_SHOWN.get(name, name): points for name, points in groups.items()}


_SHOWN: Final = {"text_head": "prompts"}


def _range(points: Points, name: str) -> str:
    values = [value for _, value in points]
    if not values:
        return f"{name}: no values"
    return f"{name}: {values[0]:.3g} at first, {values[-1]:.3g} at last"


MEAN: Final = "mean of the classes"


def curves_section(run: RunFiles) -> dict[str, Any]:
    """What `detection_curves.html` shows."""
    curves = run.curves or {}
    classes = curves.get("classes") or {}
    whole = _axes("true-positive rate", 1.0)
    figures = [
        _figure("Pixel ROC", classes, "roc", whole),
        _figure("PRO", classes, "pro", _axes("overlap per region", FPR_LIMIT)),
        _figure("Image ROC", classes, "image_roc", whole),
    ]
    return {
        "model": named(curves.get("loop") or 0),
        "figures": [figure for figure in figures if figure],
        "measured": bool(classes),
    }


def _axes(y: str, largest_fpr: float) -> Axes:
    return Axes("false-positive rate", y, x_limits=(0.0, largest_fpr), y_limits=(0.0, 1.01))


def mean_curve(curves: list[Points]) -> list[tuple[float, float]]:
    """The mean of several curves at every place where one of them has a point; between points they are straight."""
    x = np.unique([place for curve in curves for place, _ in curve])
    heights = [_height(curve, x) for curve in curves]
    return list(zip(x.tolist(), np.mean(heights, axis=0).tolist(), strict=True))


def _figure(title: str, classes: Mapping[str, Any], kind: str, axes: Axes) -> Figure | None:
    curves: dict[str, Points] = {name: points for name, of in classes.items() if (points := of.get(kind))}
    if not curves:
        return None
    lines = [
        Line(name, points, colour, dash=dash, width=1.1)
        for (name, points), (colour, dash) in zip(curves.items(), styles(), strict=False)
    ]
    if len(curves) > 1:
        lines.append(Line(MEAN, mean_curve(list(curves.values())), INK, width=2.6))
    last = f"{lines[-1].name}: {_height(lines[-1].points, np.array([0.05]))[0]:.2f} at a rate of 0.05"
    alt = f"{title} curve of {len(curves)} classes: {axes.y} against {axes.x}. {last}"
    return line_figure(title, alt, lines, axes)


def _height(curve: Points, x: np.ndarray) -> np.ndarray:
    places, heights = np.array(curve).T
    return np.interp(x, places, heights)
