"""The options by which a backbone names its weights or its model: a name, or a path that is made absolute at once."""

from errno import ELOOP
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field

_SUFFIXES: Final = (".safetensors", ".bin", ".pt", ".pth")


def is_path(text: str) -> bool:
    """Whether an option's text means a file or folder: it has a separator, or the suffix of a weights file."""
    return "/" in text or "\\" in text or text.endswith(_SUFFIXES)


def absolute(text: str) -> str:
    """The path that the text means, absolute, so that the resolved experiment finds it from anywhere; a name as it is.

    Raises ValueError for text that no path can be.
    """
    if not is_path(text):
        return text
    try:
        path = Path(text).expanduser()
        _follow(path)
        return str(path.resolve())
    except (OSError, RuntimeError) as error:  # a link that leads to itself, or the home of nobody
        raise ValueError(f"is no path ({error})") from None


def _follow(path: Path) -> None:
    # From Python 3.13 on `Path.resolve` no longer raises for a link that leads to itself.
    try:
        path.stat()
    except OSError as error:
        if error.errno == ELOOP:
            raise


NameOrPath = Annotated[str, Field(min_length=1), AfterValidator(absolute)]
"""An option that is a name, or a path."""
