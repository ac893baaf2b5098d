"""The one way to the terminal: whatever is printed is text, though files and classes be named with its commands."""

import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ..contracts.errors import plain_lines


def say(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    """Print text, on standard output unless another file is given."""
    print(plain_lines(text), end=end, file=file or sys.stdout, flush=True)


class PlainConsole(Console):
    """rich's console, which styles text and leaves what is in it as it is."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, with nothing in their text that a terminal would obey."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text, style, control) if control else Segment(plain_lines(text), style)


def say_line(*cells: str) -> None:
    """Print cells on one line, however long, with a blank between: for what is no terminal, where grep may read it."""
    say(" ".join(" ".join(cells).split()))


def say_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table whose last column alone wraps."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings[:-1]:
        table.add_column(heading, no_wrap=True)
    table.add_column(headings[-1])
    for row in rows:
        table.add_row(*map(Text, row))
    PlainConsole(highlight=False).print(table)
