"""`aakit compare`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from .terminal import PlainConsole, say

if TYPE_CHECKING:
    from ..comparison.compare import Comparison


def compare(
    runs: list[Path] = typer.Argument(help="Run folders, folders of seeds, or an ablation's folder."),
    baseline: str | None = typer.Option(
        None, "--baseline", help="What the others are compared with; default the first."
    ),
    out: Path | None = typer.Option(None, "--out", help="Folder for comparison.json, .md and .html."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    metrics: list[str] = typer.Option([], "--metric", help="Only this metric; may be repeated."),
    loop: int | None = typer.Option(None, "--loop", min=0, help="Results after this loop (0: before training)."),
) -> None:
    """Compare runs with a baseline, paired by class and seed, with intervals and a verdict in words."""
    from ..comparison.compare import compare as compare_groups
    from ..comparison.finished_runs import gather
    from ..comparison.write import json_text, write_comparison

    found = compare_groups(gather(runs), baseline, loop, metrics)
    written = write_comparison(found, out) if out else []
    if as_json:
        say(json_text(found), end="")
        return
    show_comparison(found)
    if written:
        say(f"written: {', '.join(map(str, written))}")


def show_comparison(comparison: "Comparison") -> None:
    """One table a metric with its verdicts below it, then notes."""
    from ..comparison.tables import screen_table, screen_verdicts, title
    from ..evaluation.class_metrics import heading

    console = PlainConsole(highlight=False)
    console.print(f"{title(comparison)}; paired by seed and class", markup=False, style="bold")
    for metric in comparison.metrics:
        heads, rows = screen_table(comparison, metric)
        table = Table(title=heading(metric), box=None, header_style="bold", pad_edge=False, title_justify="left")
        for head in heads:
            table.add_column(head, justify="left" if head == heads[0] else "right")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
        for line in screen_verdicts(comparison, metric):
            console.print(line, markup=False)
    for note in comparison.notes:
        console.print(f"note: {note}", markup=False)
    told = "The rule of the verdicts is in docs/guide/comparing.md, and in what --json and --out write."
    console.print(told, markup=False)
