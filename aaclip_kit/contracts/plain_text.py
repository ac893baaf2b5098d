"""Text of others, as it may be shown: names of files and classes reach a terminal as letters alone."""

import re
from typing import Final

_COMMANDS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, marks that turn the direction of what follows, and halves of characters."""


def plain(text: str, longest: int | None = None) -> str:
    """The text with such characters, line ends and tabs among them, spelled out as in Python, such as \\x1b.

    What is longer than `longest` loses its middle.
    """
    text = text if longest is None else shortened(text, longest)
    return _COMMANDS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def shortened(text: str, longest: int) -> str:
    """The text, without its middle where it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def plain_lines(text: str) -> str:
    """The same for text of several lines, which stay lines."""
    return "\n".join(map(plain, text.split("\n")))
