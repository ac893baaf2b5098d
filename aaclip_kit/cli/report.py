"""`aakit report`: the report of a run that is over, made again."""

from pathlib import Path

import typer

from .terminal import say


def report(run: Path = typer.Argument(help="Folder of a run.")) -> None:
    """Make report.html again from what a run folder holds; nothing is scored."""
    from ..report.page import write_report

    say(f"report: {write_report(run)}")
