"""Reading TOML files, and the paths that they give."""

import re
import tomllib
from collections.abc import Iterator
from errno import ELOOP
from pathlib import Path
from shlex import quote
from typing import Any, Final

from pydantic import BaseModel

from ..contracts.errors import UserError, in_short, plain
from ..files.plain_file import read_text


def expanded(path: Path) -> Path:
    """The path with its "~" replaced. Raises ValueError for text that no path can be, or the home of nobody.

    So it does for a control character in what is not there: a text in double quotes had a backslash.
    """
    try:
        whole = path.expanduser()
        _follow(whole)
        whole.resolve()
        control = _CONTROL.search(str(whole))
        lost = control and not whole.exists()
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"is no path ({error})") from None
    if control and lost:
        raise ValueError(f"is no path that is there: it holds {plain(control[0])}; {_QUOTES}")
    return whole


_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_QUOTES: Final = "write a path with backslashes in single quotes, in which they are no escapes"


def _follow(path: Path) -> None:
    # From Python 3.13 on `Path.resolve` no longer raises for a link that leads to itself.
    try:
        path.stat()
    except OSError as error:
        if error.errno == ELOOP:
            raise


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


MOST_BYTES: Final = 1 << 20
"""Size of the largest experiment file that is read; real ones have a few thousand bytes."""

MOST_KEY_PARTS: Final = 64
"""Parts of the longest dotted key. The time that reading one takes grows with the square of its length."""

_PART: Final = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_TOO_DEEP: Final = re.compile(rf"(?<![\w-])(?:{_PART}){{{MOST_KEY_PARTS}}}")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `UserError` for a file that is missing, of no readable size or not TOML."""
    text = read_text(path, most=MOST_BYTES, fix="give the path of an experiment file, a readable text in UTF-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return parse_toml(text, str(path), "mend that line; see toml.io for the form")


def parse_toml(text: str, where: str, fix: str) -> dict[str, Any]:
    """The tables of TOML text. Raises `UserError` where it is none, or its keys have too many parts."""
    if len(text) > MOST_BYTES or _TOO_DEEP.search(text):
        problem = f"is not TOML: it is endless, or a key has {MOST_KEY_PARTS} parts or more"
        raise UserError(problem, where=where, fix=fix)
    try:
        tables = tomllib.loads(text)
        _check_integers(tables)
    # An integer of thousands of digits is a plain ValueError.
    except (ValueError, RecursionError) as error:
        escaped = fix and any(word in str(error) for word in ("Unescaped", "hex value", "Escaped"))
        raise UserError(f"is not TOML: {error}", where=where, fix=_QUOTES if escaped else fix) from None
    return tables


def _check_integers(value: Any) -> None:
    """Raise ValueError for an integer that TOML has no room for: Python reads any, and cannot write the longest."""
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_integers(item)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer has more than 64 bits")


def is_array_of_tables(value: Any) -> bool:
    """Whether a value is what `[[data.test]]` makes; keys of its tables are `data.test.0.root`, counted from 0."""
    return isinstance(value, list) and bool(value) and all(isinstance(table, dict) for table in value)


def anchored(tables: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The same tables, changed in place: plugin files, which belong to the file, start from its folder."""
    files = tables.get("plugins")
    if isinstance(files, list):
        tables["plugins"] = [str(folder / _file(name)) if isinstance(name, str) else name for name in files]
    return tables


def plugin_files(tables: dict[str, Any]) -> list[Path]:
    """The plugin files that tables name, absolute. What is no list of texts is left to the schema to report."""
    files = tables.get("plugins")
    if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        return []
    return [_file(name).resolve() for name in files]


def refuse_plugin_files(tables: dict[str, Any], where: Path, own: Path | str) -> None:
    """Raise `UserError` where an experiment that the user has not named itself, as `own`, names plugin files."""
    if files := plugin_files(tables):
        problem = f"its experiment uses plugin files, which are programs: {in_short(files)}"
        fix = f"if you trust them, name that experiment yourself: --experiment {quote(str(own))}"
        raise UserError(problem, where=str(where), fix=fix)


def _file(name: str) -> Path:
    try:
        return expanded(Path(name))
    except ValueError as error:
        raise UserError(f"{name!r} {error}", where="plugins", fix="give the path of a Python file") from None
