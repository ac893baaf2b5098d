"""The report's tables as rows of text, ready for the template."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..evaluation.metrics import METRICS

UNDEFINED: Final = {
    "pixel_auroc": "not defined: no masks, or pixels of one label only",
    "pixel_ap": "not defined: no masks, or pixels of one label only",
    "image_auroc": "not defined: images of one label only",
    "image_ap": "not defined: images of one label only",
}


@dataclass(frozen=True)
class Cell:
    """A number with three decimals, or "-" and the reason for it."""

    text: str
    reason: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table; `kind` is "rule", "loop", "quoted" or "class"."""

    name: str
    kind: str
    cells: tuple[Cell, ...]


def loop_table(metrics: Mapping[str, Any]) -> list[Row]:
    """Means before training, after each loop and of each rule, as far as the metrics hold them."""
    quoted = (metrics.get("quoted") or {}).get("loop")
    rows = [_row("before training", "loop", metrics["before"]["mean"])] if metrics.get("before") else []
    for loop in metrics.get("loops", []):
        kind = "quoted" if loop["loop"] == quoted else "loop"
        rows.append(_row(f"loop {loop['loop']}", kind, loop["mean"]))
    for rule, values in metrics.get("rules", {}).items():
        rows.append(_row(f"rule: {rule.replace('_', ' ')}", "rule", values["mean"]))
    return rows


def class_table(metrics: Mapping[str, Any]) -> list[Row]:
    """The classes of the quoted loop and their mean; nothing where no loop is quoted."""
    quoted = (metrics.get("quoted") or {}).get("loop")
    for loop in metrics.get("loops", []):
        if loop["loop"] == quoted:
            rows = [_row(name, "class", values) for name, values in loop["classes"].items()]
            return [*rows, _row("mean", "quoted", loop["mean"])]
    return []


def facts(experiment: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What ran, where and for how long, as pairs of label and text; what the manifest lacks is left out."""
    device, git = manifest.get("device") or {}, manifest.get("git") or {}
    seconds, peak = manifest.get("seconds"), manifest.get("peak_memory_bytes")
    pairs = [
        ("profile", experiment.get("profile")),
        ("backbone", _joined(experiment.get("backbone"), ("use", "model", "pretrained", "image_size"))),
        ("scheduler", (experiment.get("scheduler") or {}).get("use")),
        ("data", "; ".join(_data_text(role, of) for role, of in (manifest.get("data") or {}).items())),
        ("device", _joined(device, ("name", "model"))),
        ("seed", ", ".join(str(seed) for seed in (manifest.get("seeds") or {}).values())),
        ("started", manifest.get("started")),
        ("time", None if seconds is None else f"{seconds / 60:.1f} minutes"),
        ("peak memory", None if peak is None else f"{peak / 1e9:.2f} GB"),
        ("versions", ", ".join(f"{name} {number}" for name, number in (manifest.get("versions") or {}).items())),
        ("plugins", ", ".join(f"{name} {number}" for name, number in (manifest.get("plugins") or {}).items())),
        ("commit", git.get("commit") and git["commit"] + (" with changes" if git.get("modified") else "")),
    ]
    return [(label, str(text)) for label, text in pairs if text]


def _row(name: str, kind: str, values: Mapping[str, float | None]) -> Row:
    return Row(name, kind, tuple(_cell(metric, values.get(metric)) for metric in METRICS))


def _cell(metric: str, value: float | None) -> Cell:
    return Cell("-", UNDEFINED[metric]) if value is None else Cell(f"{value:.3f}")


def _joined(table: Mapping[str, Any] | None, keys: tuple[str, ...]) -> str:
    return ", ".join(str(table[key]) for key in keys if key in table) if table else ""


def _data_text(role: str, of: Mapping[str, Any]) -> str:
    return f"{role}: {of['count']} images of {', '.join(of['classes'])}"
