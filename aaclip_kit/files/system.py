"""What Linux, macOS and Windows do in different ways: locks, signals, renamings that last, cores, memory."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final


def _module(name: str) -> Any:
    """A module that not every system has, or None."""
    try:
        return import_module(name)
    except ImportError:
        return None


fcntl, msvcrt, resource = map(_module, ("fcntl", "msvcrt", "resource"))

ENDING: Final = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if name in signal.Signals.__members__
)
"""Signals from the keyboard, from a scheduler or the system, and from a terminal that is closed."""


def lock_file(descriptor: int) -> OSError | None:
    """Lock an open file for this process alone, without waiting; return what the system says to it, None if it holds.

    The system releases it when the process dies or the file is closed. Held by another, the error's number is
    EWOULDBLOCK or EACCES.
    """
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        elif msvcrt is not None:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            return OSError(errno.ENOSYS, "this system has no such locks")
    except OSError as error:
        return error
    return None


def open_without_waiting(path: str, flags: int) -> int:
    """Open as `os.open` does; a pipe that nobody writes to is no reason to wait, where the system can do that."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def make_renamings_last(folder: Path) -> None:
    """Write to the disk what names a folder holds, where the system can do that for a folder."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def unsignalled() -> Iterator[None]:
    """Start processes that never see a signal that asks to end, but end with the one that started them.

    A scheduler asks all processes of a job to end, and the main one has yet to finish its step. This thread alone is
    spared too: the system hands a signal for the whole process to any other. Windows has no such thing, and asks none
    but the one it means.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def usable_cores() -> int:
    """Cores that the system lets this process use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS, not on Windows
        return os.cpu_count() or 1


def peak_memory_bytes() -> int | None:
    """Most resident memory of this process since `forget_peak_memory`; None where the system does not count it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    if resource is None:
        return None
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak_memory() -> None:
    """Count the peak from here on, where the system can: of several runs in one process each has its own."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
