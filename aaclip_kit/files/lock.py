"""The lock on a run's folder: two runs cannot share one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..contracts.errors import UserError, not_writable

try:
    import fcntl
except ImportError:  # no such locks outside of POSIX
    fcntl = None  # type: ignore[assignment]

LOCK: Final = "run.lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the system releases when the process dies, however it does.

    Raises `UserError` where another process holds it, or where the folder cannot be written.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise not_writable(folder, error, "make it writable, or name another one with --out") from None
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                fix = "wait until it ends, or name another folder with --out"
                raise UserError("another run is at work in this folder", where=str(folder), fix=fix) from None
        yield
    finally:
        os.close(descriptor)
