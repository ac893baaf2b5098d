"""What differs between systems: that of this one, and those of others simulated."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from aaclip_kit.files import system
from aaclip_kit.files.lock import InUseError, locked
from aaclip_kit.files.system import peak_memory_bytes, unsignalled, usable_cores
from aaclip_kit.files.whole_file import write_whole


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """Its locks, which are of files by their device and number; no signal masks, and no folder that can be opened."""
    held, plain = set[tuple[int, int]](), os.open

    def locking(descriptor: int, mode: int, count: int) -> None:
        facts = os.fstat(descriptor)
        if (facts.st_dev, facts.st_ino) in held:
            raise OSError(errno.EACCES, "Permission denied")
        held.add((facts.st_dev, facts.st_ino))

    def opened(path: str | Path, *arguments: int, **others: int) -> int:
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, *arguments, **others)

    monkeypatch.setattr(system, "fcntl", None)
    monkeypatch.setattr(system, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.delattr(signal, "pthread_sigmask")
    return held


def test_the_locks_of_windows_keep_a_second_run_out(windows: set[tuple[int, int]], tmp_path: Path) -> None:
    with locked(tmp_path) as lock:
        assert lock.absent is None and len(windows) == 1
        with pytest.raises(InUseError, match="another run is at work"), locked(tmp_path):
            pass


def test_a_file_that_windows_keeps_open_stays(
    windows: set[tuple[int, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "it is open", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(ValueError, match="own fault"), locked(tmp_path):
        raise ValueError("own fault")


def test_a_system_without_locks_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(system, "fcntl", None)
    with locked(tmp_path) as lock:
        assert lock.absent == "this system has no such locks"


@pytest.mark.usefixtures("windows")
def test_files_are_written_whole_where_no_folder_can_be_opened(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "one")
    assert (tmp_path / "a.txt").read_text() == "one" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.usefixtures("windows")
def test_without_signal_masks_nothing_is_kept_waiting() -> None:
    with unsignalled():
        assert not hasattr(signal, "pthread_sigmask")


def test_a_process_that_starts_meanwhile_sees_no_signal_that_asks_to_end() -> None:
    """What the masks hold, and not a signal sent to this process: any other thread of it would take that."""
    asked = "import signal; print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with unsignalled():
        blocked = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert blocked.strip() == str(sorted({*before, *system.ENDING}))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_the_peak_is_counted_in_the_unit_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /proc is missing: macOS counts bytes, others KiB, and Windows nothing."""
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda who: SimpleNamespace(ru_maxrss=2048))
    monkeypatch.setattr(system, "resource", usage)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: "")
    for platform, expected in (("darwin", 2048), ("freebsd14", 2048 * 1024)):
        monkeypatch.setattr(sys, "platform", platform)
        assert peak_memory_bytes() == expected
    monkeypatch.setattr(system, "resource", None)
    assert peak_memory_bytes() is None


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    assert usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


def test_peak_memory_is_what_the_system_counts() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("this system does not show the peak of resident memory elsewhere")
    (counted,) = (int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    # The kernel gathers its counters a little late, page by page.
    assert peak_memory_bytes() == pytest.approx(counted, rel=0.02)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system cannot count the peak anew")
def test_the_peak_of_memory_is_counted_anew() -> None:
    """In a process of its own: one that has trained keeps what it frees for its next step."""
    program = """
from aaclip_kit.files.system import forget_peak_memory, peak_memory_bytes
held = bytearray(200_000_000)
before = peak_memory_bytes()
del held
forget_peak_memory()
print(before - peak_memory_bytes())
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(finished.stdout) > 100_000_000
