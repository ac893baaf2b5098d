"""ROC and PRO curves of the quoted loop, by class and as a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from .figures import INK, Axes, Figure, Line, Points, line_figure, styles
from .run_files import RunFiles

MEAN: Final = "mean of the classes"
PRO_LIMIT: Final = 0.3
"""AUPRO is taken up to this false-positive rate, so the figure ends there."""


def section(run: RunFiles) -> dict[str, Any]:
    """What `detection_curves.html` shows."""
    found = run.curves or {}
    classes = found.get("classes") or {}
    whole = Axes("false-positive rate", "true-positive rate", (0, 1), (0, 1.01))
    figures = [
        _figure("Pixel ROC", classes, "roc", whole),
        _figure("PRO", classes, "pro", Axes("false-positive rate", "overlap per region", (0, PRO_LIMIT), (0, 1.01))),
        _figure("Image ROC", classes, "image_roc", whole),
    ]
    return {"loop": found.get("loop"), "figures": [figure for figure in figures if figure], "measured": bool(classes)}


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
        Line(name, points, colour, dash, 1.1)
        for (name, points), (colour, dash) in zip(curves.items(), styles(), strict=False)
    ]
    if len(curves) > 1:
        lines.append(Line(MEAN, mean_curve(list(curves.values())), INK, width=2.6))
    alt = f"{title} curve of {len(curves)} classes: {axes.y} against {axes.x}. {_at_five_percent(lines[-1])}"
    return line_figure(title, alt, lines, axes)


def _at_five_percent(line: Line) -> str:
    return f"{line.name}: {_height(line.points, np.array([0.05]))[0]:.2f} at a rate of 0.05"


def _height(curve: Points, x: np.ndarray) -> np.ndarray:
    places, heights = np.array(curve).T
    return np.interp(x, places, heights)
