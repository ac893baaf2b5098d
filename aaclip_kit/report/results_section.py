"""Results: the loop table and the class table, as rows of text ready for the template."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from ..contracts.errors import MISSING
from ..evaluation.calibration import absurd_rates
from ..evaluation.class_metrics import METRICS, heading
from .run_files import RunFiles, named

COLUMNS: Final = {metric: heading(metric).partition(" ")[::2] for metric in METRICS}
"""Each metric's place in the two lines of a table's head."""

NOT_MEASURED: Final = "not measured by the version that made this run"
NO_CLASS: Final = "not defined in any class"
NOT_DEFINED: Final = {"pixel": "not defined: no masks, or pixels of one label only", "image": "not defined: one label"}


@dataclass(frozen=True)
class Cell:
    """A number with three decimals, or an en dash and the number of the note that says why."""

    text: str
    note: int | None = None


@dataclass(frozen=True)
class Row:
    """One line of a table; `kind` is "rule", "loop", "quoted", "class", "set" or "published"."""

    name: str
    kind: str
    cells: tuple[Cell, ...]
    detail: str


@dataclass(frozen=True)
class MetricTable:
    """A table of metrics: name of the first column, heads of the others in two lines, rows, notes from 1 on."""

    first: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class MetricLine:
    """A line of a table before its numbers are text: name, kind, values by metric, reasons for what is null."""

    name: str
    kind: str
    values: Mapping[str, float | None]
    reasons: Mapping[str, str]
    _: KW_ONLY
    detail: str = ""


LESS = 0.02
"""What an image score's AUROC may lack of another's on the validation images."""


def red_lines(metrics: Mapping[str, Any], calibration: Mapping[str, Any] | None) -> list[str]:
    """What speaks against a run's figures (`metrics.json`, `calibration.json`), to be read before them.

    A loop's mean AUROC that is, to the three decimals that are shown, below that before training, or below the best of
    what knows nothing: the rules, and chance; an image score that tells less than another on the validation images;
    and a threshold that is absurd on its own source.
    """
    absurd = absurd_rates(calibration.get("achieved") or {}, calibration.get("source", "")) if calibration else []
    worse = [line for metric in ("pixel_auroc", "image_auroc") for line in _worse(metrics, metric)]
    return [*worse, *_wrong_score(metrics.get("image_scores") or {}), *absurd]


def _wrong_score(scores: Mapping[str, Any]) -> Iterable[str]:
    """Image AUROC by choice of `evaluation.image_score` on the validation images, and the choice that is `used`."""
    known = {name: value for name, value in scores.items() if name != "used" and value is not None}
    if scores.get("used") not in known:
        return
    used, best = scores["used"], max(known, key=lambda name: known[name])
    if known[best] - known[used] > LESS:
        told = (
            f'on the validation images the image score "{used}" has AUROC {known[used]:.3f}, "{best}" {known[best]:.3f}'
        )
        yield f'{told}: set evaluation.image_score = "{best}"'


def of_rules(metrics: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Return the mean of a metric for each rule that knows nothing, by its name in words, where it is defined."""
    rules = {
        name.replace("_", " "): result["mean"].get(metric) for name, result in (metrics.get("rules") or {}).items()
    }
    return {name: value for name, value in rules.items() if value is not None}


def _worse(metrics: Mapping[str, Any], metric: str) -> Iterable[str]:
    before = ((metrics.get("before") or {}).get("mean") or {}).get(metric)
    known = {f"rule {name}": value for name, value in of_rules(metrics, metric).items()} | {"chance": 0.5}
    best = max(known, key=lambda name: known[name])
    marks = {"worse than before training": before, f"below what knows nothing ({best})": known[best]}
    for words, mark in marks.items():
        loops = metrics.get("loops") or [{"loop": 0, "mean": {metric: before}}]
        means = {loop["loop"]: loop["mean"].get(metric) for loop in loops}
        below = {n: value for n, value in means.items() if None not in (value, mark) and round(value - mark, 3) < 0}
        if below:
            values = ", ".join(f"{value:.3f} {'after ' if loop else ''}{named(loop)}" for loop, value in below.items())
            yield f"{heading(metric)} is {words}: {values}, against {mark:.3f}"


def section(run: RunFiles) -> dict[str, Any]:
    """What `results.html` shows."""
    return {
        "rule": run.metrics["quoted"]["rule"].replace("_", " ") if run.reported_loop else None,
        "model": named(run.reported_loop or 0),
        "has_rules": bool(run.metrics.get("rules")),
        "loops": metric_table("model", _loop_lines(run)),
        "classes": metric_table("class", _class_lines(run)),
    }


def metric_table(first: str, lines: Iterable[MetricLine], metrics: tuple[str, ...] = tuple(COLUMNS)) -> MetricTable:
    """Turn lines into rows of text; each reason is a note once, however many cells it explains."""
    notes: list[str] = []
    rows = [
        Row(line.name, line.kind, tuple(_cell(line, metric, notes) for metric in metrics), line.detail)
        for line in lines
    ]
    return MetricTable(first, tuple(COLUMNS[metric] for metric in metrics), tuple(rows), tuple(notes))


def mean_line(name: str, kind: str, result: Mapping[str, Any]) -> MetricLine:
    """The mean of a result over its classes; where it is null, the classes' common reason if they have one."""
    reasons = {}
    for metric in COLUMNS:
        of_classes = {of[metric] for of in (result.get("undefined") or {}).values() if metric in of}
        reasons[metric] = of_classes.pop() if len(of_classes) == 1 else NO_CLASS
    return MetricLine(name, kind, result["mean"], reasons)


def set_line(label: str) -> str:
    """What the line of a data set's mean is called, where results are of several."""
    return f"mean of {label}"


def _of_set(result: Mapping[str, Any], label: str) -> Mapping[str, Any]:
    return {**result, "mean": result["sets"][label]}


def _loop_lines(run: RunFiles) -> Iterable[MetricLine]:
    metrics = run.metrics
    for rule, result in (metrics.get("rules") or {}).items():
        yield from _mean_lines(f"rule: {rule.replace('_', ' ')}", "rule", result)
    before = [{"loop": 0, **metrics["before"]}] if metrics.get("before") else []
    for loop in [*before, *metrics.get("loops", [])]:
        kind = "quoted" if loop["loop"] == run.reported_loop else "loop"
        yield from _mean_lines(named(loop["loop"]), kind, loop)


def _mean_lines(name: str, kind: str, result: Mapping[str, Any]) -> Iterable[MetricLine]:
    yield mean_line(name, kind, result)
    for label in result.get("sets") or {}:
        yield mean_line(f"{name}, {label}", "set", _of_set(result, label))


def _class_lines(run: RunFiles) -> Iterable[MetricLine]:
    if result := run.quoted:
        for name, values in result["classes"].items():
            part = (result.get("pixel_metrics_of") or {}).get(name)
            reasons = (result.get("undefined") or {}).get(name, {})
            yield MetricLine(name, "class", values, reasons, detail=f"pixel metrics of {part}" if part else "")
        for label in result.get("sets") or {}:
            yield mean_line(set_line(label), "set", _of_set(result, label))
        yield mean_line("mean", "quoted", result)


def _cell(line: MetricLine, metric: str, notes: list[str]) -> Cell:
    value = line.values.get(metric)
    if value is not None:
        return Cell(f"{value:.3f}")
    default = NOT_DEFINED[COLUMNS[metric][0]]
    reason = line.reasons.get(metric, default) if metric in line.values else NOT_MEASURED
    if reason not in notes:
        notes.append(reason)
    return Cell(MISSING, notes.index(reason) + 1)


FILE: Final = "references.csv"
PUBLISHED_METRICS: Final = ("pixel_auroc", "pixel_aupro", "pixel_ap", "pixel_f1max", "image_auroc", "image_ap")
"""Metrics that the file has, in percent."""

NOT_GIVEN: Final = "not given by the source"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One method on one data set: figures by metric as fractions, None where none is published."""

    method: str
    dataset: str
    values: dict[str, float | None]
    source: str
    kind: str


def published_sections(run: RunFiles) -> list[dict[str, Any]]:
    """What `published.html` shows of each public data set among the test data."""
    test, quoted = (run.manifest.get("data") or {}).get("test") or {}, run.quoted
    if sets := test.get("sets"):
        results = {label: quoted and _of_set(quoted, label) for label in sets}
        found = [_published(run, of["use"], results[label], of, len(of["classes"])) for label, of in sets.items()]
    else:
        dataset = str(((run.experiment.get("data") or {}).get("test") or {}).get("use", ""))
        found = [_published(run, dataset, quoted, test, len((quoted or {}).get("classes", ())))]
    return [section for section in found if section["table"].rows]


def _published(
    run: RunFiles, dataset: str, result: Mapping[str, Any] | None, about: Mapping[str, Any], classes: int
) -> dict[str, Any]:
    """Published figures on one data set beside the run's own; `about` is what the manifest says of the images."""
    reasons = dict.fromkeys(PUBLISHED_METRICS, NOT_GIVEN)
    lines = [
        MetricLine(f"{one.method} ({one.kind})", "published", one.values, reasons, detail=one.source)
        for one in references()
        if one.dataset == dataset
    ]
    if lines and result:
        lines.insert(0, mean_line(f"this run, {named(run.reported_loop or 0)}", "quoted", result))
    return {
        "dataset": dataset,
        "classes": classes if result else 0,
        "not_comparable": about.get("not_comparable"),
        "table": metric_table("method", lines, PUBLISHED_METRICS),
    }


@cache
def references() -> tuple[Reference, ...]:
    """Every published figure that comes with the package, in the order of its file."""
    text = files("aaclip_kit.report").joinpath(FILE).read_text(encoding="utf-8")
    return tuple(
        Reference(
            method=line["method"], dataset=line["dataset"], source=line["source"], kind=line["kind"],
            values={name: float(line[name]) / 100 if line[name] else None for name in PUBLISHED_METRICS},
        )
        for line in csv.DictReader(text.splitlines())
    )  # fmt: skip
