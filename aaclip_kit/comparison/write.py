"""Differences drawn with their intervals, as SVG."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..contracts.errors import not_writable, plain, shortened
from ..evaluation.class_metrics import heading
from ..files.whole_file import write_whole_together
from . import tables
from .compare import Comparison, Difference
from .verdicts import RULE

_LONGEST: Final = 48
"""Characters of a name for which there is room beside a plot."""


def intervals_svg(differences: Mapping[str, Difference], baseline: str) -> str:
    """One row a run: the mean difference, its bootstrap interval, and each seed's difference as a dot."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "aaclip_kit", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(6.4, 0.9 + 0.42 * len(differences)), layout="constrained")
        axes = figure.add_subplot()
        for row, found in enumerate(differences.values()):
            if found.bootstrap:
                axes.plot(
                    [found.bootstrap.low, found.bootstrap.high], [row, row], color="#1f4e9c", linewidth=5, alpha=0.35
                )
            if found.mean is not None:
                axes.plot([found.mean], [row], "D", color="#1f4e9c", markersize=7, zorder=2.5)
            dots = [value for value in found.of_seed.values() if value is not None]
            axes.plot(dots, [row] * len(dots), "o", color="#1d1d1f", markersize=3, zorder=3)
        axes.axvline(0, color="#1d1d1f", linewidth=1)
        axes.set_ylim(len(differences) - 0.5, -0.5)
        # Folders name the runs, and a "$" in a name begins no formula.
        axes.set_xlabel(f"less {_label(baseline)}", parse_math=False)
        axes.set_yticks(range(len(differences)), list(map(_label, differences)), parse_math=False)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _label(name: str) -> str:
    return shortened(plain(name), _LONGEST)


NAMES: Final = ("comparison.json", "comparison.md", "comparison.html")


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write `NAMES` into `folder`, which is made. Raises `UserError` where that cannot be."""
    texts = (json_text(comparison), markdown(comparison), html(comparison))
    # The name of a folder may be in another encoding.
    encoded = (text.encode("utf-8", errors="backslashreplace") for text in texts)
    contents = dict(zip((folder / name for name in NAMES), encoded, strict=True))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole_together(contents)
    except OSError as error:
        raise not_writable(folder, error) from None
    return list(contents)


def json_text(comparison: Comparison) -> str:
    """The comparison as JSON."""
    return json.dumps(tables.as_record(comparison), indent=2, allow_nan=False) + "\n"


def markdown(comparison: Comparison) -> str:
    """One table a metric, then notes and the rule."""
    parts = [f"# {tables.title(comparison)}\n"]
    for metric in comparison.metrics:
        parts.append(f"## {heading(metric)}\n\n{markdown_table(tables.HEADS, tables.rows(comparison, metric))}")
    if comparison.notes:
        parts.append("".join(f"- {note}\n" for note in comparison.notes))
    return "\n".join([*parts, RULE + "\n"])


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def html(comparison: Comparison) -> str:
    """A page that needs nothing beside it."""
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html").render(
        title=tables.title(comparison), heads=_verdict_first(tables.HEADS), class_heads=tables.class_heads(comparison),
        sections=[_section(comparison, metric) for metric in comparison.metrics], notes=comparison.notes, rule=RULE,
    )  # fmt: skip


def _section(comparison: Comparison, metric: str) -> dict[str, Any]:
    found = {label: metrics[metric] for label, metrics in comparison.differences.items()}
    return {
        "name": heading(metric),
        "plot": intervals_svg(found, comparison.baseline) if found else "",
        "rows": [_verdict_first(row) for row in tables.rows(comparison, metric)],
        "classes": tables.class_rows(comparison, metric),
    }


def _verdict_first(row: tuple[str, ...]) -> tuple[str, ...]:
    """The last column beside the name, where a narrow screen shows it."""
    return (row[0], row[-1], *row[1:-1])
