"""The one way to the terminal: whatever is printed is text, though files and classes be named with its commands."""

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from ..contracts.errors import MISSING, plain_lines


class Debugging:
    """Whether tracebacks are shown, as `aakit --debug ...` asks once, before the command runs."""

    on = False


def say(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    """Print text, on standard output unless another file is given."""
    print(plain_lines(text), end=end, file=file or sys.stdout, flush=True)


class PlainConsole(Console):
    """rich's console, which styles text and leaves what is in it as it is."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, with nothing in their text that a terminal would obey."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text, style, control) if control else Segment(plain_lines(text), style)

    def print_line(self, text: str, style: str | None = None) -> None:
        """Print a line as it is, however long."""
        self.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def plain_table(*columns: Column | str, rows: Iterable[Iterable[str]] = (), title: str | None = None) -> Table:
    """Return a table without borders, under bold headings."""
    table = Table(*columns, title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def numeric(headings: Iterable[str]) -> list[Column]:
    """Return columns of numbers, which end at the right."""
    return [Column(heading, justify="right") for heading in headings]


def three_decimals(value: float | None) -> str:
    """Return a number as tables show it; an en dash where it is undefined."""
    return MISSING if value is None else f"{value:.3f}"


def say_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose last column alone wraps; where no terminal is, rows alone, each a line for grep to read."""
    if not sys.stdout.isatty():
        for row in rows:
            say(" ".join(" ".join(row).split()))
        return
    columns = (Column(heading, no_wrap=True) for heading in headings[:-1])
    PlainConsole(highlight=False).print(plain_table(*columns, headings[-1], rows=rows))
