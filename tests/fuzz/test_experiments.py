"""Experiment files and overrides of any content: a checked experiment or one plain error."""

from __future__ import annotations

from functools import cache
from typing import Any

import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from aaclip_kit.experiment import Experiment, load, resolved_toml
from aaclip_kit.experiment.toml_file import parse_toml
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import Registry

from .build import WHOLE
from .cases import NUMBERS, TEXTS, VALUES, damaged, file_of, fuzzed, result_of

TABLES = parse_toml(WHOLE, "here", "")
KEYS = sorted({key for table in [TABLES, *TABLES.values()] if isinstance(table, dict) for key in table})
WORDS = [
    word.encode() for word in ("=", "[", "]", "[[a]]", '"', "'''", "#", "\n", ".", "{", "}", "1e999", "nan", "\\u0000")
]


@cache
def registry() -> Registry:
    return discover()


def outcome(content: bytes, *overrides: str) -> Any:
    with file_of(content, "experiment.toml") as path:
        found = result_of(load, path, registry(), overrides)
        if isinstance(found, Experiment):
            again = path.parent / "again.toml"
            again.write_text(resolved_toml(found), encoding="utf-8")
            try:
                assert resolved_toml(load(again, registry())) == resolved_toml(found)
            finally:
                again.unlink()
        return found


def test_what_is_whole_is_read() -> None:
    assert outcome(WHOLE.encode(), "seed=5").file.seed == 5


@given(damaged([WHOLE.encode()]))
@fuzzed()
def test_damaged_text(content: bytes) -> None:
    outcome(content)


@given(
    st.lists(st.one_of(st.sampled_from([*WORDS, *(key.encode() for key in KEYS)]), st.binary(max_size=6)), max_size=40)
)
@fuzzed()
def test_pieces_of_text(pieces: list[bytes]) -> None:
    outcome(b"".join(pieces))
    outcome(WHOLE.encode() + b"\n" + b"".join(pieces))


def plain(value: Any) -> Any:
    """What TOML can hold of it: no null, no half of a character."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in value if item is not None]
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


@st.composite
def changed(draw: st.DrawFn) -> dict[str, Any]:
    """The tables with values exchanged, taken out and put in, at any depth."""
    tables = parse_toml(WHOLE, "here", "")
    for _ in range(draw(st.integers(1, 4))):
        table: Any = tables
        while inner := [item for item in table.values() if isinstance(item, dict)]:
            if draw(st.booleans()):
                break
            table = draw(st.sampled_from(inner))
        key = draw(st.one_of(st.sampled_from([*table, *KEYS]), TEXTS))
        if draw(st.integers(0, 4)) == 0:
            table.pop(key, None)
        else:
            table[key] = draw(VALUES)
    return plain(tables)


LEAVES = [(*path, key) for path, table in [((), TABLES), *(((name,), item) for name, item in TABLES.items())]
          if isinstance(table, dict) for key, value in table.items() if not isinstance(value, dict)]  # fmt: skip
PATHS = [("plugins",), ("init", "checkpoint"), ("cache", "folder"), ("data", "train", "root"), ("data", "test", "root")]


@given(st.sampled_from([*LEAVES, *PATHS]), st.one_of(TEXTS, NUMBERS), st.booleans())
@fuzzed()
def test_one_value_of_any_text_or_number(path: tuple[str, ...], value: Any, listed: bool) -> None:
    tables: dict[str, Any] = parse_toml(WHOLE, "here", "")
    table = tables
    for name in path[:-1]:
        table = table.setdefault(name, {})
    table[path[-1]] = [value] if listed or path == ("plugins",) else value
    outcome(tomli_w.dumps(plain(tables)).encode())


@given(changed())
@fuzzed()
def test_tables_with_other_values(tables: dict[str, Any]) -> None:
    outcome(tomli_w.dumps(tables).encode())


PLACES = st.sampled_from(
    [*TABLES, *(f"{name}.{key}" for name, table in TABLES.items() if isinstance(table, dict) for key in table)]
)


@given(st.lists(st.tuples(st.one_of(PLACES, TEXTS), st.one_of(TEXTS, VALUES.map(repr))), min_size=1, max_size=3))
@fuzzed()
def test_overrides(pairs: list[tuple[str, str]]) -> None:
    outcome(WHOLE.encode(), *(f"{key}={value}" for key, value in pairs))
