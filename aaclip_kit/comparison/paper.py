"""A comparison as a table for a paper - LaTeX, CSV, Markdown - and its plots as PDF and SVG files."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from ..contracts.errors import UserError, plain, table_cell, writing
from ..evaluation.class_metrics import heading
from ..files.whole_file import write_whole_together
from .compare import Comparison, Difference, Summary
from .paired_statistics import DECIMALS
from .write import ends, inert, intervals_plot, markdown_table, signed, spread

Format = Literal["latex", "csv", "markdown"]

_ENDINGS: Final[dict[Format, str]] = {"latex": "tex", "csv": "csv", "markdown": "md"}


def table(comparison: Comparison, form: Format) -> str:
    """Return one table of all metrics: a row a run, its mean and deviation, its difference with the deciding interval.

    A difference that is shown is marked with *, one that is shown on these classes with a dagger. Notes stand below the
    table; CSV has no place for them.
    """
    return {"latex": _latex, "csv": _csv, "markdown": _markdown}[form](comparison)


def write_paper(comparison: Comparison, form: Format, folder: Path) -> list[Path]:
    """Write the table and, for each metric, a plot as PDF and as SVG into a folder, which is made. Returns the files.

    Raises `UserError`, and writes nothing, where one of the files is there already, or the folder cannot be written.
    """
    contents: dict[Path, str | bytes] = {folder / f"table.{_ENDINGS[form]}": table(comparison, form)}
    for metric in comparison.metrics if comparison.differences else ():
        differences = {label: of_metric[metric] for label, of_metric in comparison.differences.items()}
        for ending in ("pdf", "svg"):
            contents[folder / f"{metric}.{ending}"] = intervals_plot(differences, comparison.baseline, ending)
    if there := next((path for path in contents if path.exists()), None):
        raise UserError("exists already", where=str(there), fix="name another folder with --out")
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole_together(contents)
    return list(contents)


def _rows(comparison: Comparison, cell: Callable[[Summary, Difference | None], tuple[str, str]]) -> list[list[str]]:
    """The name of each run, then what `cell` says of each metric: figure, and difference to the baseline."""
    rows = []
    for label, summaries in comparison.summaries.items():
        differences = comparison.differences.get(label, {})
        cells = (cell(summaries[metric], differences.get(metric)) for metric in comparison.metrics)
        rows.append([plain(label), *(part for pair in cells for part in pair)])
    return rows


def _heads(comparison: Comparison) -> list[str]:
    return [part for metric in comparison.metrics for part in (heading(metric), f"{heading(metric)}, difference")]


def _mark(difference: Difference, shown: str, here: str) -> str:
    return {"shown": shown, "shown on these classes": here}.get(difference.verdict.kind, "")


def _text_cell(summary: Summary, difference: Difference | None) -> tuple[str, str]:
    if difference is None:
        return spread(summary), ""
    interval = difference.verdict.interval
    span = "" if interval is None else f" [{', '.join(ends(interval))}]"
    return spread(summary), f"{signed(difference.mean, difference.verdict.decimals)}{span}{_mark(difference, '*', '†')}"


def _markdown(comparison: Comparison) -> str:
    rows = _rows(comparison, _text_cell)
    notes = "".join(f"\n- {inert(note)}" for note in comparison.notes)
    caption = f"\n{_caption(comparison, '*', '†')}\n" + (f"{notes}\n" if notes else "")
    return markdown_table(["run", *_heads(comparison)], rows) + caption


_CSV: Final = ("mean", "sd", "difference", "low", "high", "verdict")


def _csv(comparison: Comparison) -> str:
    """One row a run and metric, the verdict as the word that comparison.json has."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "seeds", "metric", *_CSV])
    for label, summaries in comparison.summaries.items():
        for metric, summary in summaries.items():
            difference = comparison.differences.get(label, {}).get(metric)
            writer.writerow([table_cell(label), summary.seeds, metric, *_numbers(summary, difference)])
    return out.getvalue()


def _numbers(summary: Summary, difference: Difference | None) -> list[str]:
    interval = None if difference is None else difference.verdict.interval
    figures = ["" if value is None else f"{value:.{DECIMALS}f}" for value in (summary.mean, summary.deviation)]
    mean = "" if difference is None or difference.mean is None else f"{difference.mean:.{difference.verdict.decimals}f}"
    span = ["", ""] if interval is None else [end.removeprefix("+") for end in ends(interval)]
    return [*figures, mean, *span, "baseline" if difference is None else difference.verdict.kind]


def _latex(comparison: Comparison) -> str:
    rows = [[_escaped(row[0]), *row[1:]] for row in _rows(comparison, _latex_cell)]
    groups = " & ".join(f"\\multicolumn{{2}}{{c}}{{{_escaped(heading(metric))}}}" for metric in comparison.metrics)
    lines = [
        "% needs \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{l{'rl' * len(comparison.metrics)}}}", "\\toprule", f" & {groups} \\\\", "\\midrule",
        *(f"{' & '.join(row)} \\\\" for row in rows), "\\bottomrule", "\\end{tabular}",
        f"% {_caption(comparison, '*', 'dagger')}", *(f"% note: {plain(note)}" for note in comparison.notes),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _latex_cell(summary: Summary, difference: Difference | None) -> tuple[str, str]:
    figure = "--" if summary.mean is None else f"${spread(summary)}$".replace("±", "\\pm")
    if difference is None or difference.mean is None:
        return figure, ""
    interval, mark = difference.verdict.interval, _mark(difference, "^{*}", "^{\\dagger}")
    span = "" if interval is None else f"\\ [{', '.join(ends(interval))}]"
    return figure, f"${signed(difference.mean, difference.verdict.decimals)}{mark}{span}$"


_SPECIAL: Final = {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}


def _escaped(text: str) -> str:
    """Text as LaTeX prints it letter by letter."""
    return re.sub(r"[\\~^]|[&%$#_{}]", lambda match: _SPECIAL.get(match[0], f"\\{match[0]}"), text)


def _caption(comparison: Comparison, shown: str, here: str) -> str:
    """What the figures and marks are."""
    seeds = sorted({summary.seeds for of in comparison.summaries.values() for summary in of.values()})
    counted = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    text = (
        f"Mean over {len(comparison.classes)} classes, ± deviation over {counted} seeds; difference to "
        f"{plain(comparison.baseline)}, paired by class and seed, with the 95 % interval that decides. "
        f"{shown}: shown; {here}: shown on these classes."
    )
    return " ".join(text.split())
