"""A comparison as files: JSON for scripts, Markdown for pages, HTML for readers."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..contracts.errors import not_writable
from ..evaluation.metrics import heading
from ..whole_file import write_whole_together
from . import tables
from .compare import Comparison
from .plot import intervals_svg
from .verdict import RULE

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
