"""Options in words, for every form that a field may have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from aaclip_kit import Indices, Options
from aaclip_kit.cli.list_plugins import describe_option


class Inner(Options):
    """A table."""

    key: int = 1


class Every(Options):
    """Every form."""

    number: int = Field(3, ge=1, lt=9, description="a number")
    share: float = Field(gt=0, le=1)
    flag: bool = True
    name: str = Field("x", min_length=1)
    plain: str = Field("x", pattern="^[a-z]+$")
    word: Literal["a", "b"] = "a"
    maybe: int | None = Field(None, ge=2)
    indices: Indices = Field((0, 2), min_length=1)
    optional: Indices | None = None
    pair: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (0.5, 0.9)
    mixed: tuple[int, str] = (1, "x")
    many: Annotated[list[str], Field(strict=False)] = Field(["a", "b"], min_length=2)
    file: Annotated[Path, Field(strict=False)] | None = None
    names: dict[str, str] = Field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = Field(default_factory=dict)
    inner: Inner = Field(default_factory=Inner)
    either: int | str = 1
    untyped: Any = None


EXPECTED = {
    "number": ("int >= 1, < 9", "3", "a number"),
    "share": ("float > 0, <= 1", "required", ""),
    "flag": ("bool", "true", ""),
    "name": ("text, not empty", '"x"', ""),
    "plain": ("text matching ^[a-z]+$", '"x"', ""),
    "word": ('"a" | "b"', '"a"', ""),
    "maybe": ("int >= 2", "unset", ""),
    "indices": ("list of int >= 0, not empty", "[0, 2]", ""),
    "optional": ("list of int >= 0", "unset", ""),
    "pair": ("list of 2 float >= 0", "[0.5, 0.9]", ""),
    "mixed": ("list of int, text", '[1, "x"]', ""),
    "many": ("list of text, at least 2 long", '["a", "b"]', ""),
    "file": ("path", "unset", ""),
    "names": ("table of text", "{}", ""),
    "tables": ("table of tables", "{}", ""),
    "inner": ("table", "its defaults", ""),
    "either": ("int | text", "1", ""),
    "untyped": ("Any", "unset", ""),
}


@pytest.mark.parametrize("name", Every.model_fields)
def test_a_field_in_words(name: str) -> None:
    assert describe_option(Every.model_fields[name]) == EXPECTED[name]
