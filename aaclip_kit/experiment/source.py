"""Reading an experiment file and its `--set` overrides into one dictionary."""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ..contracts.errors import UserError
from .paths import expanded
from .schema import OWN_KEYS

MOST_BYTES: Final = 1 << 20
"""Size of the largest experiment file that is read; real ones have a few thousand bytes."""

_DEEPEST: Final = 64
"""Parts of the longest dotted key. The time that reading one takes grows with the square of its length."""

_PART: Final = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+"""
_TOO_DEEP: Final = re.compile(rf"(?<![\w-])(?:{_PART}){{{_DEEPEST}}}")


def read(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The file's tables with overrides applied; plugin files start from the file's folder, in an override from here.

    Raises `UserError` for a file that is missing or is not TOML.
    """
    return overridden(anchored(read_toml(path), path.parent), overrides)


def overridden(tables: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The same tables, changed in place. Raises `UserError` for an override that names no key.

    Overrides of `use` come first, whatever their order, so that none of the others is discarded with the old keys.
    """
    for override in sorted(overrides, key=lambda text: _parts(text)[-1] != "use"):
        _apply(tables, override)
    return tables


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises `UserError` for a file that is missing, of no readable size or not TOML."""
    fix = "give the path of an experiment file"
    try:
        # A pipe would be waited for, and a device has no end.
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError("is no plain file", where=str(path), fix=fix)
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"has more than {MOST_BYTES:,} bytes", where=str(path), fix=fix)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError("there is no such file", where=str(path), fix=fix) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", where=str(path), fix="give a readable text file in UTF-8") from None
    return parse_toml(
        text.replace("\r\n", "\n").replace("\r", "\n"), str(path), "mend that line; see toml.io for the form"
    )


def parse_toml(text: str, where: str, fix: str) -> dict[str, Any]:
    """The tables of TOML text. Raises `UserError` where it is none, or its keys have too many parts."""
    if len(text) > MOST_BYTES or _TOO_DEEP.search(text):
        raise UserError(f"is not TOML: it is endless, or a key has {_DEEPEST} parts or more", where=where, fix=fix)
    try:
        return tomllib.loads(text)
    # An integer of thousands of digits is a plain ValueError.
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not TOML: {error}", where=where, fix=fix) from None


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


def _file(name: str) -> Path:
    try:
        return expanded(Path(name))
    except ValueError as error:
        raise UserError(f"{name!r} {error}", where="plugins", fix="give the path of a Python file") from None


def _apply(tables: dict[str, Any], override: str) -> None:
    """Set one key. A new `use` discards the table's other keys: they belonged to the component it replaces.

    The engine's own keys stay: the weight of a loss, and which images of a data set are used.
    """
    _, separator, text = override.partition("=")
    parts = _parts(override)
    if not separator or not all(parts) or len(parts) > _DEEPEST:
        raise UserError(f"'{override}' is not of the form table.key=value", where="--set", fix="write --set seed=7")
    target: Any = tables
    for depth, part in enumerate(parts[:-1]):
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            problem, above = f"{'.'.join(parts[: depth + 1])} is a value, not a table", ".".join(parts[: depth + 1])
            raise UserError(problem, where=f"--set {override}", fix=f"set {above} itself, or a key of a table")
    value = _value(text)
    if parts[-1] == "use" and target.get("use", value) != value:
        kept = {key: target[key] for key in OWN_KEYS.get(parts[0], ()) if key in target}
        target.clear()
        target.update(kept)
    target[parts[-1]] = value


def _parts(override: str) -> list[str]:
    return [part.strip() for part in override.partition("=")[0].split(".")]


def _value(text: str) -> Any:
    """A TOML value, or, where it is none, the text itself, so that plain words need no quotes."""
    try:
        found = parse_toml(f"value = {text}", "--set", "")
        return found["value"] if len(found) == 1 else text
    except UserError:
        return _bare_array(text) or text


def _bare_array(text: str) -> list[str] | None:
    """[a, b] of plain words."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    return [part.strip().strip("\"'") for part in text[1:-1].split(",") if part.strip()]
