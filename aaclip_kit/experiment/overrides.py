"""`--set`: keys of an experiment file that the command line changes."""

import json
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, TypeVar

from ..contracts.data import OWN_KEYS
from ..contracts.errors import UserError
from ..contracts.options import StageOptions
from .toml_file import MOST_KEY_PARTS, anchored, is_array_of_tables, parse_toml, read_toml

Checked = TypeVar("Checked")

_WANTS_TEXT: Final = ("input should be a valid string", "input is not a valid path", "needs a text value")

_KEPT: Final = {**OWN_KEYS, "stages": tuple(StageOptions.model_fields)}
"""Keys of a component's table that stay when another component takes its place."""


def read(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The file's tables with overrides applied; plugin files start from the file's folder, in an override from here.

    Raises `UserError` for a file that is missing or is not TOML.
    """
    return overridden(anchored(read_toml(path), path.parent), overrides)


def checked(tables: dict[str, Any], overrides: Sequence[str], check: Callable[[dict[str, Any]], Checked]) -> Checked:
    """Return what `check` makes of the tables with overrides. Where a text is wanted, their characters are that text.

    So `--set data.test.root=2024-05-01` names a folder, though TOML has dates. Raises `UserError` as `check` does.
    """
    try:
        return check(overridden(deepcopy(tables), overrides))
    except UserError as error:
        wanted = [fault.where or "" for fault in error.faults if fault.problem.startswith(_WANTS_TEXT)]
        quoted = [_quoted(override, wanted) for override in overrides]
        if quoted == list(overrides):
            raise
    return check(overridden(tables, quoted))


def _quoted(override: str, wanted: Sequence[str]) -> str:
    """The override with quotes around its text, or each of its list or table, where one of the places wants it."""
    key, text = ".".join(_parts(override)), override.partition("=")[2].strip()
    matches = [found for where in wanted if (found := re.search(rf": {re.escape(key)}(\.[^.]+)?$", where))]
    if not matches:
        return override
    if text.startswith("{") and any(found[1] for found in matches):
        entries = (f"{json.dumps(name)} = {json.dumps(value)}" for name, value in _entries(text).items())
        return f"{key}={{{', '.join(entries)}}}"
    value = _words(text) if any(found[1] for found in matches) else text
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def overridden(tables: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The same tables, changed in place. Raises `UserError` for an override that names no key.

    Overrides of `use` come first, whatever their order, so that none of the others is discarded with the old keys.
    """
    for override in sorted(overrides, key=lambda text: _parts(text)[-1] != "use"):
        _apply(tables, override)
    return tables


def _apply(tables: dict[str, Any], override: str) -> None:
    """Set one key. A new `use` discards the table's other keys, or tables: they belonged to what it replaces.

    The engine's own keys stay: the weight of a loss, which images of a data set are used, and where a stage stands.
    """
    _, separator, text = override.partition("=")
    parts = _parts(override)
    if not separator or not all(parts) or len(parts) > MOST_KEY_PARTS:
        key = "seed=7" if separator or not all(parts) else f"{'.'.join(parts)}=VALUE"
        raise UserError(f"'{override}' is not of the form table.key=value", where="--set", fix=f"write --set {key}")
    if parts[-1] == "use":
        _one_for_several(tables, parts[:-1])
    target, value = _table_of(tables, parts, override), _value(text)
    if isinstance(target, list):
        target[int(parts[-1])] = value
        return
    if parts[-1] == "use" and target.get("use", value) != value:
        kept = {key: target[key] for key in _KEPT.get(parts[0], ()) if key in target}
        target.clear()
        target.update(kept)
    target[parts[-1]] = value


def _one_for_several(tables: dict[str, Any], parts: Sequence[str]) -> None:
    """One table stands in for an array of them: `--set data.test.use=folder` where the file has several data sets."""
    target: Any = tables
    for part in parts[:-1]:
        target = target.get(part) if isinstance(target, dict) else None
    if parts and isinstance(target, dict) and is_array_of_tables(target.get(parts[-1])):
        target[parts[-1]] = {}


def _table_of(tables: dict[str, Any], parts: Sequence[str], override: str) -> Any:
    """The table, or the array of tables, that the last part is a key of; tables that are missing are made."""
    target: Any = tables
    for depth, part in enumerate(parts):
        above = ".".join(parts[:depth])
        if is_array_of_tables(target):
            if part not in map(str, range(len(target))):
                fix = f"name one of them, {above}.0 to {above}.{len(target) - 1}, or set {above} itself"
                raise UserError(f"{above} is an array of {len(target)} tables", where=f"--set {override}", fix=fix)
        elif not isinstance(target, dict):
            fix = f"set {above} itself, or a key of a table"
            raise UserError(f"{above} is a value, not a table", where=f"--set {override}", fix=fix)
        if depth < len(parts) - 1:
            target = target.setdefault(part, {}) if isinstance(target, dict) else target[int(part)]
    return target


def _parts(override: str) -> list[str]:
    return [part.strip() for part in override.partition("=")[0].split(".")]


def _value(text: str) -> Any:
    """A TOML value, or, where it is none, the text itself, [a, b] or {c = d} of texts: plain words need no quotes."""
    try:
        tables = parse_toml(f"value = {text}", "--set", "")
        return tables["value"] if len(tables) == 1 else text
    except UserError:
        return _words(text) or _entries(text) or text


def _words(text: str) -> list[str]:
    words = text[1:-1].split(",") if text.startswith("[") and text.endswith("]") else []
    return [_bare(word) for word in words if word.strip()]


def _entries(text: str) -> dict[str, str]:
    inside = text.strip()[1:-1] if text.strip().startswith("{") and text.strip().endswith("}") else ""
    found = re.findall(r"""([^,=]+)=\s*("[^"]*"|'[^']*'|[^,]*)""", inside)
    return {_bare(name): _bare(value) for name, value in found}


def _bare(word: str) -> str:
    """A text without the blanks and the quotes around it."""
    return word.strip().strip("\"'")
