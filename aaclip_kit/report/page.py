"""The report: one HTML file that needs nothing beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..files.whole_file import write_whole
from ..record.run_folder import REPORT
from . import attention_section, examples_section, results_section, training_section, what_ran_section
from .figures import Budget
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
        summary=what_ran_section.summary(run),
        warnings=what_ran_section.warnings(run),
        results=results_section.section(run),
        published=results_section.published_section(run),
        detection_curves=training_section.curves_section(run),
        examples=examples_section.section(run, budget),
        attention=attention_section.section(run, budget),
        training=training_section.section(run),
        what_ran=what_ran_section.section(run),
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
