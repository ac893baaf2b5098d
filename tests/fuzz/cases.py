"""How many cases each test draws, and what must come of each: a result or one plain error, soon, nothing written."""

from __future__ import annotations

import os
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from aaclip_kit import UserError

from ..hostile.given import within

_TESTS: Final = 23
"""Tests that share the cases of a long run, each counted by its share."""

FEW: Final = 100
"""Examples of each test in the ordinary suite, the same every time."""

_ASKED: Final = int(os.environ.get("AAKIT_FUZZ_CASES", "0"))
_PATIENCE: Final = 20
_Function = TypeVar("_Function", bound=Callable[..., None])


def fuzzed(share: float = 1.0) -> Callable[[_Function], _Function]:
    """Draw `FEW` cases, or, with AAKIT_FUZZ_CASES=N, this test's part of N new ones; `share` is for the slow."""
    # Rounded up, so that all together draw no fewer than were asked for.
    count = -(-_ASKED // _TESTS) if _ASKED else FEW
    return settings(
        max_examples=max(1, int(share * count)),
        derandomize=not _ASKED,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def result_of(reader: Callable[..., Any], *arguments: Any) -> Any:
    """What it returns, or its `UserError`, whose message is held to what every message is. Anything else escapes."""
    try:
        with within(_PATIENCE):
            return reader(*arguments)
    except UserError as error:
        text = str(error)
        assert not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text.replace("\n", "")), text
        for fault in error.faults:
            assert fault.problem and len(str(fault)) < 20_000
        return error


@contextmanager
def file_of(content: bytes, name: str) -> Iterator[Path]:
    """A file with this content in a folder of its own, which must be the same afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        yield path
        assert [entry.name for entry in Path(folder).iterdir()] == [name]
        assert path.read_bytes() == content


TOKENS: Final = (
    *(b'"', b"'", b"[", b"]", b"{", b"}", b"\\", b"\n", b"\r", b",", b".", b"=", b":", b"#", b"-", b"~nobody/", b"../"),
    *(
        b"\0",
        b"\\u0000",
        b"\xff",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\x1b[31m",
        b"\xe2\x80\xae",
        b"9" * 5000,
        b"[" * 2000,
        b".a" * 80,
    ),
)
"""What means something to a reader of text."""


@st.composite
def damaged(draw: st.DrawFn, wholes: list[bytes], most: int = 8) -> bytes:
    """One of the whole files, some of its bytes exchanged, taken out, put in, or cut off."""
    data = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(0, most))):
        # Headers lie in front, and are where harm is done.
        last = draw(st.sampled_from([64, 512, max(len(data), 1)]))
        place = draw(st.integers(0, min(last, max(len(data), 1)) - 1))
        how = draw(st.sampled_from(["exchange", "take", "put", "token", "cut", "double"]))
        if how == "exchange" and place < len(data):
            data[place] = draw(st.integers(0, 255))
        elif how == "take":
            del data[place : place + draw(st.integers(1, 16))]
        elif how == "put":
            data[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif how == "token":
            data[place:place] = draw(st.sampled_from(TOKENS))
        elif how == "cut":
            del data[place:]
        elif how == "double":
            data[place:place] = data[place : place + draw(st.integers(1, 64))]
    return bytes(data)


TEXTS = st.one_of(
    st.text(st.characters(), max_size=12),
    st.sampled_from(
        ["", ".", "..", "../..", "/", "~", "~nobody/x", "a\0b", "\x1b[31m", "\ud800", "\u202e", "a" * 5000]
    ),
)
"""Names and paths, those that mean something elsewhere among them."""

NUMBERS = st.one_of(
    st.integers(),
    st.sampled_from([0, 1, -1, 2**31, 2**63, 2**64, 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)
"""Whatever JSON can hold."""
