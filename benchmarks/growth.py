"""Time and memory as one size grows and the others stay, on the embedded model: a plot for each, and the numbers."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from children import measured
from workload import EMBEDDED, Load

LEVELS = (1, 2, 3, 4)
_SMALL = Load("stage2", 112, 4, EMBEDDED, LEVELS, naive=3, cached=False)


@dataclass(frozen=True)
class Axis:
    """A size that grows: its key of the load, and what else the load is."""

    name: str
    doing: str
    key: str
    values: tuple[int, ...]
    load: Load


AXES = (
    Axis("images", "Scoring with metrics", "images", (8, 32, 128, 512), replace(_SMALL, kind="evaluation", batch=8)),
    Axis("classes", "Step of stage 1, 8 images", "classes", (1, 2, 4, 8), replace(_SMALL, kind="stage1", batch=8)),
    Axis("image side", "Step of stage 2, 4 images", "size", (56, 112, 168, 224, 336), _SMALL),
    Axis("batch", "Step of stage 2", "batch", (2, 4, 8, 16, 32), _SMALL),
)


def grow(folder: Path) -> None:
    """Measure every axis; write growth_NAME.png for each and growth.json into the folder when all are done."""
    curves = {axis: [_point(axis, value) for value in axis.values] for axis in AXES}
    folder.mkdir(parents=True, exist_ok=True)
    for axis, points in curves.items():
        plot(axis, points, folder / f"growth_{axis.name.replace(' ', '_')}.png")
    content = {axis.name: {"doing": axis.doing, "points": points} for axis, points in curves.items()}
    (folder / "growth.json").write_text(json.dumps(content, indent=2) + "\n")


def _point(axis: Axis, value: int) -> dict[str, Any]:
    grown: dict[str, Any] = {axis.key: value}
    raw = measured(replace(axis.load, **grown))
    point: dict[str, Any] = {axis.name: value, "seconds": median(raw["own"]), "peak_gb": raw["own_peak"] / 1e9}
    if raw["naive"]:
        point.update({"naive_seconds": median(raw["naive"]), "naive_peak_gb": raw["naive_peak"] / 1e9})
    print(", ".join(f"{name} {number:.4g}" for name, number in point.items()), flush=True)
    return point


def plot(axis: Axis, points: list[dict[str, Any]], path: Path) -> None:
    """Seconds on the left, peak memory on the right; the naive way dashed where it was measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    figure.suptitle(axis.doing)
    for panel, part, label in zip(figure.subplots(1, 2), ("seconds", "peak_gb"), ("seconds", "peak, GB"), strict=True):
        for prefix, style in (("", "o-"), ("naive_", "s--")):
            found = [(point[axis.name], point[prefix + part]) for point in points if prefix + part in point]
            if found:
                panel.plot(*zip(*found, strict=True), style, label="naive" if prefix else "aaclip_kit")
        panel.set(xlabel=axis.name, ylabel=label, ylim=(0, None))
        panel.legend()
    figure.savefig(path, dpi=110)
