"""The lock on a folder of runs: two runs, or two ablations, cannot share one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..contracts.errors import UserError, writing

try:
    import fcntl
except ImportError:  # no such locks outside of POSIX
    fcntl = None  # type: ignore[assignment]

LOCK: Final = "run.lock"


@contextmanager
def locked(
    folder: Path, name: str = LOCK, holder: str = "another run is at work in this folder"
) -> Iterator[int | None]:
    """Hold the folder's lock, which the system releases when the process dies, however it does.

    Yields the lock's descriptor, which processes started meanwhile may inherit; None where there are no such locks.
    Raises `UserError` where another process holds it, or where the folder cannot be written.
    """
    with writing(folder, "make it writable, or name another one with --out"):
        descriptor = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                fix = "wait until it ends, or name another folder with --out"
                raise UserError(holder, where=str(folder), fix=fix) from None
        yield None if fcntl is None else descriptor
    finally:
        os.close(descriptor)
