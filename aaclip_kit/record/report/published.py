"""Published figures on the test data, where that is a public data set, with the source of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from .results import Line, mean_line, metric_table
from .run_files import RunFiles

FILE: Final = "references.csv"
METRICS: Final = ("pixel_auroc", "pixel_aupro", "pixel_ap", "pixel_f1max", "image_auroc", "image_ap")
"""Metrics that the file has, in percent."""

NOT_GIVEN: Final = "not given by the source"


@dataclass(frozen=True)
class Reference:
    """One method on one data set: figures by metric as fractions, None where none is published."""

    method: str
    dataset: str
    values: dict[str, float | None]
    source: str
    kind: str


def section(run: RunFiles) -> dict[str, Any]:
    """What `published.html` shows; without a table where the test data is no public data set."""
    dataset = str(((run.experiment.get("data") or {}).get("test") or {}).get("use", ""))
    lines = [_line(reference) for reference in references() if reference.dataset == dataset]
    if lines and run.quoted:
        lines.insert(0, mean_line(f"this run, loop {run.quoted_loop}", "quoted", run.quoted))
    classes = len((run.quoted or {}).get("classes", ()))
    return {"dataset": dataset, "classes": classes, "table": metric_table("method", lines, METRICS)}


def _line(reference: Reference) -> Line:
    reasons = dict.fromkeys(METRICS, NOT_GIVEN)
    name = f"{reference.method} ({reference.kind})"
    return Line(name, "published", reference.values, reasons, reference.source)


@cache
def references() -> tuple[Reference, ...]:
    """Every published figure that comes with the package, in the order of its file."""
    text = files("aaclip_kit.record").joinpath(FILE).read_text(encoding="utf-8")
    return tuple(
        Reference(
            line["method"], line["dataset"], {metric: _fraction(line[metric]) for metric in METRICS},
            line["source"], line["kind"],
        )
        for line in csv.DictReader(text.splitlines())
    )  # fmt: skip


def _fraction(percent: str) -> float | None:
    return float(percent) / 100 if percent else None
