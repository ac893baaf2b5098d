"""What `aakit shots` leaves: its record, from which it goes on, means with intervals over the draws, and tables."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..comparison.paired_statistics import t_interval
from ..comparison.series import differences_from_folder
from ..contracts.errors import MISSING, UserError, in_short
from ..evaluation.class_metrics import METRICS, mean_metrics
from ..experiment import resolved_toml
from ..experiment.check import REFERENCE
from ..files.lock import LOCK
from ..files.plain_file import read_json
from ..files.whole_file import is_leftover, write_whole_together
from ..plugin_host.registry import Registry
from ..record.run_folder import EXPERIMENT, as_written
from .few_shots import Draws, Measured
from .shots_model import MODEL, ShotsModel

RECORD: Final = "shots.json"
TABLE: Final = "shots.csv"
PAGE: Final = "shots.html"
FORMAT: Final = "aaclip_kit shots 1"

INTERVAL: Final = (
    "Student's 95 % interval of the mean over the draws: test images and model are taken as given, and only the choice "
    "of references varies. 0 images have no draws, and one draw has no interval."
)

Curve = dict[str, dict[str, dict[str, dict[str, Any]]]]
"""By number of images, as text, by what scores ("zero_shot", "memory", "both") and by metric: mean, low, high."""


def check_usable(folder: Path) -> None:
    """Raise `UserError` for a folder that holds anything but earlier curves. Writes nothing."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError("the output path is a file", where=str(folder), fix="name a new folder")
    there = {entry.name for entry in folder.iterdir() if not is_leftover(entry)}
    if others := sorted(there - {RECORD, TABLE, PAGE, EXPERIMENT, MODEL, LOCK}):
        problem = f"holds something else: {in_short(others, 3)}"
        raise UserError(problem, where=str(folder), fix="name a new or an empty folder, or one of earlier curves")


def begin(folder: Path, model: ShotsModel, registry: Registry) -> dict[str, Measured]:
    """Return what was measured in the folder before, of the same experiment, weights and images; else nothing yet.

    Raises `UserError` where the folder holds anything else.
    """
    if not (folder / RECORD).is_file():
        return {}
    record, fix = read_json(folder / RECORD), "name another folder with --out"
    with as_written(folder):
        if record["format"] != FORMAT:
            raise UserError(f"is of another format: {record['format']}", where=str(folder / RECORD), fix=fix)
        if changed := differences_from_folder(folder / EXPERIMENT, model.experiment, registry):
            problem = f"holds curves of another experiment: {in_short(changed, 3)}"
            raise UserError(problem, where=str(folder), fix=fix)
        same = {"checkpoint_sha256": model.checksum(), "data": _images(model)}
        if changed := [key for key, value in same.items() if record[key] != value]:
            problem = f"holds curves of other {'weights' if changed[0] != 'data' else 'images'}"
            raise UserError(problem, where=str(folder), fix=fix)
        return dict(record["measured"])


def as_record(model: ShotsModel, draws: Draws, measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Everything as plain data, for JSON; "finished" once nothing lacks."""
    classes = {name: curve_of(of, draws) for name, of in measured.items()}
    return {
        "format": FORMAT,
        "experiment": model.experiment.file.name,
        "checkpoint": None if model.checkpoint is None else str(model.checkpoint),
        "checkpoint_sha256": model.checksum(),
        "data": _images(model),
        "seeds": list(draws.seeds),
        "shots": [0, *draws.shots],
        "interval": INTERVAL,
        "notes": list(notes(model, draws)),
        "finished": all(name in measured and _is_whole(measured[name], draws) for name in model.classes),
        "classes": classes,
        "mean": mean_curve([measured[name] for name in model.classes if name in measured], draws),
        "measured": dict(measured),
    }


def write_record(folder: Path, model: ShotsModel, record: Mapping[str, Any], page: str | None = None) -> None:
    """Write the record and the experiment; at the end, with the page, the table too. Raises OSError."""
    contents = {
        EXPERIMENT: resolved_toml(model.experiment),
        RECORD: json.dumps(record, indent=1, allow_nan=False) + "\n",
    }
    if page is not None:
        contents |= {TABLE: csv_text(record), PAGE: page}
    encoded = {folder / name: text.encode("utf-8", errors="backslashreplace") for name, text in contents.items()}
    write_whole_together(encoded)


def _images(model: ShotsModel) -> dict[str, str]:
    return {role: model.data.fingerprints[role].sha256 for role in ("test", REFERENCE)}


def _is_whole(measured: Measured, draws: Draws) -> bool:
    numbers = [str(number) for number in draws.shots if number <= measured["references"]]
    drawn = measured["draws"]
    there = all(number in drawn.get(str(seed), {}) for seed in draws.seeds for number in numbers)
    return there and measured["zero_shot"] is not None


def notes(model: ShotsModel, draws: Draws) -> Iterator[str]:
    """Say which numbers were left out of a class, and where draws share so many images that they differ too little."""
    yield from model.data.notes
    for name in model.classes:
        pool = len(model.pool(name))
        if out := [number for number in draws.shots if number > pool]:
            yield f"{name} has {pool} references: {in_short(out)} left out, of the mean of the classes too"
        if near := [number for number in draws.shots if pool / 2 < number <= pool]:
            alike = "draws share most of their images, so that intervals are too narrow"
            yield f"{name} has {pool} references: with {in_short(near)}, {alike}"


def curve_of(measured: Measured, draws: Draws) -> Curve:
    """Means and intervals of one class, as far as they are measured."""
    curve: Curve = {}
    if measured["zero_shot"] is not None:
        curve["0"] = {"zero_shot": _spread([measured["zero_shot"]])}
    for number in map(str, draws.shots):
        of_draws = [measured["draws"].get(str(seed), {}).get(number) for seed in draws.seeds]
        if there := [one for one in of_draws if one is not None]:
            curve[number] = {kind: _spread([one[kind] for one in there]) for kind in ("memory", "both")}
    return curve


def mean_curve(measured: Sequence[Measured], draws: Draws) -> Curve:
    """The same of the mean over the classes, draw by draw; without numbers that a class has too few images for."""
    if not measured:
        return {}
    curve: Curve = {}
    if all(of["zero_shot"] is not None for of in measured):
        curve["0"] = {"zero_shot": _spread([_mean([of["zero_shot"] for of in measured])])}
    for number in map(str, draws.shots):
        of_draws = [[of["draws"].get(str(seed), {}).get(number) for of in measured] for seed in draws.seeds]
        there = [classes for classes in of_draws if all(one is not None for one in classes)]
        if there:
            kinds = ("memory", "both")
            curve[number] = {kind: _spread([_mean([one[kind] for one in of]) for of in there]) for kind in kinds}
    return curve


def _mean(classes: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    return mean_metrics({str(place): values for place, values in enumerate(classes)})


def _spread(of_draws: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, Any]]:
    """Mean over the draws of each metric, and the interval; None where it is undefined."""
    found = {}
    for metric in METRICS:
        values = [value for one in of_draws if (value := one[metric]) is not None]
        interval = t_interval(np.array(values)[:, None]) if values else None
        ends = (None, None) if interval is None else (interval.low, interval.high)
        mean = float(np.mean(values)) if values else None
        found[metric] = {"mean": mean, "low": ends[0], "high": ends[1], "draws": len(values)}
    return found


MEAN: Final = "mean of the classes"


def curves(record: Mapping[str, Any]) -> dict[str, Curve]:
    """Each class's curve by its name and, of several classes, that of their mean."""
    found = dict(record["classes"])
    return {**found, MEAN: record["mean"]} if len(found) > 1 and record["mean"] else found


HEADS: Final = ("images", "both", "memory alone")


def rows(curve: Curve, metric: str) -> list[tuple[str, ...]]:
    """One row a number of images, under `HEADS`; the model without a memory stands first."""
    first: list[tuple[str, ...]] = (
        [("0, zero-shot", cell(curve["0"]["zero_shot"][metric]), MISSING)] if "0" in curve else []
    )
    others = [number for number in curve if number != "0"]
    return first + [(number, *(cell(curve[number][kind][metric]) for kind in ("both", "memory"))) for number in others]


def cell(spread: Mapping[str, Any]) -> str:
    """Put a mean and half of its interval in words."""
    if spread["mean"] is None:
        return MISSING
    half = "" if spread["low"] is None else f" ± {(spread['high'] - spread['low']) / 2:.3f}"
    return f"{spread['mean']:.3f}{half}"


def csv_text(record: Mapping[str, Any]) -> str:
    """One line for each class, number of images, kind of score and metric."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(("class", "images", "scores", "metric", "mean", "low", "high", "draws"))
    for name, curve in curves(record).items():
        for number, kinds in curve.items():
            for kind, metrics in kinds.items():
                for metric, spread in metrics.items():
                    values = ("" if spread[end] is None else repr(spread[end]) for end in ("mean", "low", "high"))
                    drawn = 0 if kind == "zero_shot" else spread["draws"]
                    table.writerow((name, number, kind, metric, *values, drawn))
    return out.getvalue()
