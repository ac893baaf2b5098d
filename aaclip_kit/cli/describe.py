"""Options in words: the type as it stands in a TOML file, with its bounds, the default, and the meaning."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NAMES = {str: "text", Path: "path"}
_LISTS = (tuple, list, set, frozenset)
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def describe_option(info: FieldInfo) -> tuple[str, str, str]:
    """Type with bounds, default, and meaning of one option."""
    return _type(info.annotation, info.metadata), _default(info), info.description or ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    return "its defaults" if isinstance(value, BaseModel) else json.dumps(value, default=str)


def _type(annotation: Any, metadata: Iterable[Any]) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0], [*_flat(inside[1:]), *metadata])
    if origin in (Union, UnionType):
        return " | ".join(_type(part, metadata) for part in inside if part is not NoneType)
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in inside)
    if origin in _LISTS and inside:
        return f"list of {_entries(inside)}{_length(metadata)}"
    if origin is dict:
        return "table" if inside[1] is Any else f"table of {_type(inside[1], ())}".replace("of table", "of tables")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    name = _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return f"{name}{_bounds(metadata)}"


def _entries(inside: tuple[Any, ...]) -> str:
    """Types of a list's entries; a tuple of fixed length says how many."""
    names = [_type(part, ()) for part in inside if part is not ...]
    if len(names) > 1 and len(set(names)) == 1:
        return f"{len(names)} {names[0]}"
    return ", ".join(names)


def _bounds(metadata: Iterable[Any]) -> str:
    metadata = list(metadata)
    parts = [f" {sign} {getattr(item, key)}" for item in metadata for key, sign in _SIGNS.items() if hasattr(item, key)]
    patterns = [f" matching {item.pattern}" for item in metadata if getattr(item, "pattern", None)]
    return ",".join([*parts, *patterns]) or _length(metadata)


def _length(metadata: Iterable[Any]) -> str:
    least = [item.min_length for item in metadata if hasattr(item, "min_length")]
    return "".join(", not empty" if count == 1 else f", at least {count} long" for count in least)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    """Constraints of an `Annotated` type, where pydantic's `Field` is a holder of constraints."""
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]
