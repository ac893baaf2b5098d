"""Paths that an experiment file gives: whether they could name anything at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel


def expanded(path: Path) -> Path:
    """The path with its "~" replaced. Raises ValueError for text that no path can be, or the home of nobody."""
    try:
        whole = path.expanduser()
        whole.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"is no path ({error})") from None
    return whole


def unusable_paths(options: BaseModel) -> Iterator[tuple[str, str]]:
    """The key and the problem of each path among the options that `expanded` refuses."""
    for key, value in options:
        for path in _paths(value):
            try:
                expanded(path)
            except ValueError as error:
                yield key, str(error)


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)
