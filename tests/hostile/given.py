"""Hostile files, and the seconds within which they must be refused."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any


class TooSlowError(BaseException):
    """No `Exception`, so that no reader takes it for a fault of its file."""


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail where what is inside takes longer, rather than wait for it."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def safetensors_bytes(header: dict[str, Any] | bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file put together by hand; `length` is what it says of its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    """What a header says of one tensor."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def pipe(path: Path) -> None:
    """A pipe into which nobody writes: whoever opens it waits."""
    os.mkfifo(path)


def device(path: Path) -> None:
    """A file without an end."""
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path.name)


def folder(path: Path) -> None:
    """A folder."""
    path.mkdir()


NO_FILES: dict[str, Callable[[Path], None]] = {
    "a pipe": pipe, "a device": device, "a link to itself": loop, "a folder": folder,
}  # fmt: skip
