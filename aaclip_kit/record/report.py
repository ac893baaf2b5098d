"""The report: one HTML file that needs nothing beside it and can be made again from the run folder at any time."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..contracts.errors import UserError
from ..evaluation.metrics import METRICS
from .curves import curves_svg, loss_curves
from .embedding import embedded_pictures
from .folder import EVENTS, EXPERIMENT, HEATMAPS, MANIFEST, REPORT
from .folder import METRICS as METRICS_FILE
from .tables import class_table, facts, loop_table

HEADINGS: Final = {
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
}


def write_report(folder: Path) -> Path:
    """Write `report.html` from what the run folder holds, and return its path.

    A run that stopped early has a report of what there is. Raises `UserError` where the folder holds no experiment
    or manifest, and for a file that cannot be read.
    """
    experiment = _read(folder / EXPERIMENT)
    resolved, manifest = _parsed(folder / EXPERIMENT, experiment), _parsed(folder / MANIFEST, _read(folder / MANIFEST))
    metrics = _parsed(folder / METRICS_FILE, _read(folder / METRICS_FILE)) if (folder / METRICS_FILE).exists() else {}
    curves = loss_curves(_events(folder / EVENTS))
    pictures, left_out = embedded_pictures(sorted((folder / HEATMAPS).glob("*.png")))
    html = _template().render(
        name=resolved.get("name", folder.name),
        facts=facts(resolved, manifest),
        metrics=METRICS,
        headings=HEADINGS,
        has_rules=bool(metrics.get("rules")),
        quoted=metrics.get("quoted"),
        loop_rows=loop_table(metrics),
        class_rows=class_table(metrics),
        curves=[curves_svg(phase, loops) for phase, loops in curves.items()],
        pictures=pictures,
        left_out=left_out,
        experiment=experiment,
    )
    (folder / REPORT).write_text(html, encoding="utf-8")
    return folder / REPORT


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), fix="name the folder of a run") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise UserError(f"is damaged ({error})", where=str(path)) from error
    return parsed


def _events(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # The last line of a run that was killed may be cut off; the lines before it are whole.
    lines = _read(path).splitlines()
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise UserError(f"line {number} is damaged ({error})", where=str(path)) from error
    return events
