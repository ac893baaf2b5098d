"""The one way to the terminal: whatever is printed is text, though files and classes be named with its commands."""

import sys
from collections.abc import Iterable
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from ..contracts.plain_text import plain_lines


def say(text: str, end: str = "\n", file: TextIO | None = None) -> None:
    """Print text, on standard output unless another file is given."""
    print(plain_lines(text), end=end, file=file or sys.stdout, flush=True)


class PlainConsole(Console):
    """rich's console, which styles text and leaves what is in it as it is."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of what is printed, with nothing in their text that a terminal would obey."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text, style, control) if control else Segment(plain_lines(text), style)
