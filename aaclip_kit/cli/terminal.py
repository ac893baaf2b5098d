"""The one way to the terminal: whatever is printed is text, though files and classes be named with its commands."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EIO
from io import TextIOWrapper
from typing import IO, Any, Final, NoReturn, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from ..contracts.errors import MISSING, UserError, plain, plain_lines

CLOSED: Final = 128 + 13
"""The exit code where the reader of standard output has gone: what shells say of SIGPIPE."""


class Debugging:
    """Whether tracebacks are shown, as `aakit --debug ...` asks once, before the command runs."""

    on = False


def escape_what_cannot_be_written() -> None:
    """Let both streams spell out, such as \\u4e1d, letters that their encoding lacks: none ends the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line, on standard output unless another file is given: a name in it cannot begin another."""
    say_lines(plain(text), file=file)


def say_lines(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    """Print text of several lines, in which names are what they should be already."""
    with _printing(file or sys.stdout) as target:
        print(plain_lines(text), end=end, file=target, flush=True)


@contextmanager
def _printing(file: IO[str]) -> Iterator[IO[str]]:
    """End the program where its reader has gone, as the system does; a file that takes no more is a `UserError`.

    A terminal that was closed is passed over, since a signal says so too; so is whatever keeps errors from being told.
    """
    try:
        yield file
    except OSError as error:
        if error.errno == EIO or file is sys.stderr:
            return
        with suppress(OSError):  # what is still to be written when the program ends goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())
        if isinstance(error, BrokenPipeError):
            raise SystemExit(CLOSED) from None
        problem = f"cannot be written ({error.strerror})"
        raise UserError(problem, where="standard output", fix="make room there, or send it elsewhere") from None


class PlainConsole(Console):
    """rich's console, which styles text and leaves what is in it as it is."""

    def __init__(self, **settings: Any) -> None:
        # A folder may be called "[red]" or ":x:".
        super().__init__(markup=False, emoji=False, highlight=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, with nothing in their text that a terminal would obey."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text, style, control) if control else Segment(plain_lines(text), style)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich does; what keeps it from being written is told as `say` tells it."""
        with _printing(self.file):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> NoReturn:
        """Leave it to `print`."""
        raise BrokenPipeError

    def print_line(self, text: str, style: str | None = None) -> None:
        """Print a line as it is, however long."""
        self.print(plain(text), style=style, soft_wrap=True)


def plain_table(*columns: Column | str, rows: Iterable[Iterable[str]] = (), title: str | None = None) -> Table:
    """Return a table without borders, under bold headings; a line end in a cell makes no line of its own."""
    table = Table(*columns, title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
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
    PlainConsole().print(plain_table(*columns, headings[-1], rows=rows))
