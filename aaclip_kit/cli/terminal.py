"""The one way to the terminal: whatever is printed is text, though files and classes be named with its commands."""

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from ..contracts.plain_text import plain_lines


class _Debug:
    on = False


def set_debugging(on: bool) -> None:
    """Say, once and before the command runs, whether `aakit --debug ...` was asked for."""
    _Debug.on = on


def debugging() -> bool:
    """Say whether tracebacks are shown."""
    return _Debug.on


def say(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    """Print text, on standard output unless another file is given."""
    print(plain_lines(text), end=end, file=file or sys.stdout, flush=True)


def say_line(*cells: str) -> None:
    """Print cells on one line, however long, with a blank between: for what is no terminal, where grep may read it."""
    say(" ".join(" ".join(cells).split()))


class PlainConsole(Console):
    """rich's console, which styles text and leaves what is in it as it is."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, with nothing in their text that a terminal would obey."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text, style, control) if control else Segment(plain_lines(text), style)

    def print_line(self, text: str, style: str | None = None) -> None:
        """Print a line as it is, however long."""
        self.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def plain_table(*columns: Column | str, title: str | None = None, show_header: bool = True) -> Table:
    """Return an empty table without borders, under bold headings."""
    return Table(
        *columns, title=title, title_justify="left", show_header=show_header, box=None, header_style="bold",
        pad_edge=False,
    )  # fmt: skip


def numeric(headings: Iterable[str]) -> list[Column]:
    """Return columns of numbers, which end at the right."""
    return [Column(heading, justify="right") for heading in headings]


def three_decimals(value: float | None) -> str:
    """Return a number as tables show it; "-" where it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def say_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose last column alone wraps."""
    table = plain_table(*(Column(heading, no_wrap=True) for heading in headings[:-1]), headings[-1])
    for row in rows:
        table.add_row(*map(Text, row))
    PlainConsole(highlight=False).print(table)
