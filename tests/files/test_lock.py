"""One run a folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from aaclip_kit import UserError
from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.distributed.ranks import ALONE
from aaclip_kit.experiment import load
from aaclip_kit.files.lock import LOCK, InUseError, locked
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder, new_run
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute

HOLD = """
import sys, time
from pathlib import Path
from aaclip_kit.files.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_is_refused_until_the_first_dies_however_it_dies(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another run is at work in this folder"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO])
def test_where_there_are_no_locks_a_run_goes_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    monkeypatch.setattr("aaclip_kit.run.loop.Execution", lambda *_, **__: SimpleNamespace(run=lambda _: {"done": 1}))
    told, run = list[str](), object.__new__(Run)
    object.__setattr__(run, "ranks", ALONE)

    class Tells(QuietScreen):
        def message(self, text: str) -> None:
            told.append(text)

    with new_run(tmp_path / "run", "run") as folder:
        assert execute(run, folder, Tells()) == {"done": 1}
        with pytest.raises(UserError, match="already holds a run"), new_run(tmp_path / "run", "run"):
            pass
    (line,) = told
    assert "nothing keeps other runs out" in line and os.strerror(number) in line


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_only_what_says_so_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(InUseError, match="another run is at work"), locked(tmp_path):
        pass


def test_a_lock_is_on_the_file_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was opened before its holder removed it keeps nobody out."""
    import fcntl

    plain, removed = fcntl.flock, list[int]()

    def flock(descriptor: int, how: int) -> None:
        plain(descriptor, how)
        if not removed:
            removed.append(descriptor)
            (tmp_path / LOCK).unlink()

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(tmp_path), pytest.raises(InUseError), locked(tmp_path):
        pass
    assert removed


def test_a_run_holds_the_lock_of_its_folder(tmp_path: Path, small_experiment: Path) -> None:
    run, refused = assemble(load(small_experiment, discover())), list[str]()

    class Tries(QuietScreen):
        def phase(self, *found: object) -> None:
            try:
                with locked(tmp_path / "run"):
                    pass
            except UserError as error:
                refused.append(error.problem)

    execute(run, RunFolder.create(tmp_path / "run"), Tries())
    assert refused == ["another run is at work in this folder"] * 4
    with locked(tmp_path / "run"):
        pass
