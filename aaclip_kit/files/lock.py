"""The lock on a run's folder: two runs cannot share one."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..contracts.errors import UserError, writing
from .system import lock_file

LOCK: Final = "run.lock"
HOLDER: Final = "another run is at work in this folder"


class InUseError(UserError):
    """Another process works in the folder."""


@dataclass(frozen=True)
class Lock:
    """A lock that is held; `absent` says why there is none where the file system, or the system, has no locks."""

    absent: str | None


@contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Hold the folder's lock, which the system releases when the process dies, however it does.

    Its file stays, but for one that it has made for a block which fails. Raises `InUseError` where another process
    holds the lock, and `UserError` where the folder cannot be written.
    """
    path = folder / LOCK
    new = not path.exists()
    with writing(folder, "make it writable, or name another one with --out"):
        descriptor, held = _opened(path)
    try:
        if isinstance(held, OSError) and held.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise InUseError(HOLDER, where=str(folder), fix="wait until it ends, or name another folder with --out")
        try:
            yield Lock(None if held is None else held.strerror or str(held))
        except BaseException:
            if new:
                with suppress(PermissionError):  # Windows removes no open file
                    path.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)


def in_use(folder: Path) -> bool:
    """Say whether another process holds the folder's lock now; it is not made where it is not there."""
    if not (folder / LOCK).exists():
        return False
    try:
        with locked(folder):
            return False
    except InUseError:
        return True


def _opened(path: Path) -> tuple[int, OSError | None]:
    """A descriptor of the lock's file, and what the system says to locking it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        if (refused := lock_file(descriptor)) is not None:
            return descriptor, refused
        # The one who held it may have removed the file since it was opened.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor, None
        os.close(descriptor)
