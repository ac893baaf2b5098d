"""Turning pydantic's findings into plain messages that name file, table, key, expectation and nearest valid name."""

from collections.abc import Iterable
from datetime import date, time
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from ..contracts.errors import UserError, nearest_hint, shortened
from .moved_keys import moved_hint

_MOST: Final = 100
"""Faults of one table that are explained: a file can have a hundred thousand unknown keys."""

_LONGEST: Final = 400
"""Characters of a faulty value that are shown."""


def explain(
    error: ValidationError, model: type[BaseModel], file: str, table: str, also: tuple[str, ...] = ()
) -> list[UserError]:
    """One `UserError` for each finding of `error`, raised when `model` checked `table` of `file`.

    `also` names keys of the table that belong to another model.
    """
    found = error.errors()
    inside = {finding["loc"][:end] for finding in found for end in range(len(finding["loc"]))}
    # Without lists that are too short only because their entries are faulty and were taken out.
    findings = [one for one in found if not (one["type"] == "too_short" and one["loc"] in inside)]
    faults = [_explain_one(one, model, file, table, also) for one in findings[:_MOST]]
    if len(findings) > _MOST:
        where = f"{file}: {table or 'the file'}"
        faults.append(UserError(f"and {len(findings) - _MOST} more faults", where=where, fix="mend these first"))
    return faults


def _explain_one(finding: Any, model: type[BaseModel], file: str, table: str, also: tuple[str, ...]) -> UserError:
    keys = [str(part) for part in finding["loc"]]
    where = f"{file}: {'.'.join([*([table] if table else []), *keys]) or 'the file'}"
    if finding["type"] == "extra_forbidden":
        inner = _descend(model, keys[:-1])
        known = sorted([*(inner.model_fields if inner else ()), *(also if len(keys) == 1 else ())])
        hint = (
            moved_hint(".".join([*([table] if table else []), *keys])) or nearest_hint(keys[-1], known) or "remove it; "
        )
        return UserError("unknown key", where=where, fix=f"{hint}known keys: {', '.join(known) or 'none'}")
    if finding["type"] == "missing":
        return UserError("is missing", where=where, fix=f"add it: {_describe(model, keys)}".rstrip(": "))
    message = finding["msg"].removeprefix("Value error, ").partition(" for <class")[0]
    for python, toml in (("tuple", "an array"), ("list", "an array"), ("dictionary", "a table")):
        message = message.replace(f"a valid {python}", toml)
    if finding["type"] == "too_short":
        message = f"needs at least {finding['ctx']['min_length']} entries"
    value = finding["input"]
    stands_there = isinstance(value, str) and _shown(value) in message
    given = "" if isinstance(value, dict) or stands_there else f" (given: {_shown(value)})"
    quotes = finding["type"] in ("string_type", "path_type") and isinstance(value, (int, float, date, time))
    purpose = _describe(model, keys)
    fix = "; ".join(filter(None, ["put quotes around it" if quotes else "", purpose and f"correct it: {purpose}"]))
    return UserError(f"{message[0].lower()}{message[1:]}{given}", where=where, fix=fix or None)


def _shown(value: Any) -> str:
    """A value as TOML writes it, or nearly so."""
    if isinstance(value, bool | date | time):
        return str(value).lower() if isinstance(value, bool) else value.isoformat()
    try:
        return shortened(repr(value), _LONGEST)
    except RecursionError:
        return "tables within tables"


def _descend(model: type[BaseModel], keys: Iterable[str]) -> type[BaseModel] | None:
    for key in keys:
        field = model.model_fields.get(key)
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model


def _describe(model: type[BaseModel], keys: list[str]) -> str:
    """What the key is for, in its owner's words."""
    plain = [key for key in keys if not key.isdigit()]
    for length in range(len(plain), 0, -1):
        inner = _descend(model, plain[: length - 1])
        if inner and plain[length - 1] in inner.model_fields:
            return inner.model_fields[plain[length - 1]].description or ""
    return ""
