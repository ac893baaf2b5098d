"""What `aakit data check` prints: a table for each role, or all of it as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..contracts.errors import UserError
from ..data.checks import Role
from ..data.scan import summary
from .terminal import PlainConsole


def as_record(roles: Sequence[Role], between: Sequence[UserError]) -> dict[str, Any]:
    """Summary, warnings and faults of each role, and the faults that lie between roles."""
    found = {
        role.name: {
            **(summary(role.scan) if role.scan else {}),
            **role.record,
            "warnings": role.notes,
            "faults": _plain(role.faults),
        }
        for role in roles
    }
    return {"data": found, "faults": _plain(between)}


def show(roles: Sequence[Role]) -> None:
    """Print a table and the warnings of each role; its faults are left to the command's end."""
    console = PlainConsole(highlight=False)
    for role in roles:
        if role.scan and role.scan.facts:
            _show(console, role.name, summary(role.scan))
        for note in role.notes:
            console.print(f"warning    {note}", markup=False, soft_wrap=True)
        console.print(
            f"{role.name}: {len(role.faults) or 'no'} fault{'' if len(role.faults) == 1 else 's'}\n", markup=False
        )


def _show(console: Console, name: str, found: dict[str, Any]) -> None:
    title = f"{name}: {found['name'] or 'own data'}, {found['domain']}, {found['count']} images"
    console.print(title, style="bold", markup=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("class", "real name"):
        table.add_column(column, overflow="fold")
    for column in ("normal", "anomalous", "masks"):
        table.add_column(column, justify="right")
    table.add_column("pixels")
    table.add_column("defects")
    for class_name, counts in found["classes"].items():
        numbers = [str(counts[key]) for key in ("normal", "anomalous", "masks")]
        ends = [_sizes(counts["sizes"]), _defects(counts["defects"])]
        texts = [class_name, counts["real_name"] or "", *numbers, *ends]
        table.add_row(*map(Text, texts))
    console.print(table)


def _sizes(sizes: list[dict[str, int]]) -> str:
    """The only size, or the smallest and the largest by area and how many there are."""
    texts = [f"{size['width']} x {size['height']}" for size in sizes]
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}, {len(texts)} sizes"


def _defects(defects: dict[str, int]) -> str:
    """A few with their counts, or how many there are; the JSON has all."""
    return f"{len(defects)} kinds" if len(defects) > 3 else ", ".join(f"{name} {n}" for name, n in defects.items())


def _plain(faults: Sequence[UserError]) -> list[dict[str, str | None]]:
    return [{"where": fault.where, "problem": fault.problem, "fix": fault.fix} for fault in faults]
