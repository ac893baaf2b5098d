"""The page: every section's data into its template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ...whole_file import write_whole
from ..folder import REPORT
from . import attention, cases, detection_curves, published, results, training, what_ran
from .pictures import Budget
from .run_files import RunFiles


def write_report(folder: Path) -> Path:
    """Write `report.html` from what the run folder holds, and return its path.

    A run that stopped early, or was made by an older version, has a report of what there is. Raises `UserError` where
    the folder holds no experiment or manifest, and for a file that cannot be read.
    """
    run, budget = RunFiles.read(folder), Budget()
    html = _template().render(
        name=run.name,
        text=run.text,
        summary=what_ran.summary(run),
        warnings=what_ran.warnings(run),
        results=results.section(run),
        published=published.section(run),
        detection_curves=detection_curves.section(run),
        cases=cases.section(run, budget),
        attention=attention.section(run, budget),
        training=training.section(run),
        what_ran=what_ran.section(run),
    )
    # The name of an image file may be in another encoding.
    write_whole(folder / REPORT, html.encode("utf-8", errors="backslashreplace"))
    return folder / REPORT


def _template() -> Any:
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
