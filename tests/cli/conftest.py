"""The command, and ways to see that it wrote nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ..command import Command, Ran


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the command."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path, defects: Path) -> Path:
    """A copy of the drawn defects that a test may damage; point experiments at it with --set."""
    return Path(shutil.copytree(defects, tmp_path / "data"))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refused(aakit: Command, place: Path, small_experiment: Path) -> Callable[..., Ran]:
    """Run the small experiment with these arguments: one plain message with its fix, code 2, nothing written."""

    def run(*arguments: object, experiment: Path = small_experiment) -> Ran:
        ran = aakit("run", experiment, "--out", place / "out", *arguments)
        assert_plain(ran)
        assert contents(place) == {}
        return ran

    return run


@pytest.fixture
def no_data(small_experiment: Path) -> Path:
    """The small experiment where neither its data nor its weights exist."""
    text = re.sub(r'root = ".*"', 'root = "no/such/data"', small_experiment.read_text())
    path = small_experiment.with_name("no_data.toml")
    path.write_text(text.replace('pretrained = "none"', 'pretrained = "no/such/weights.pt"'))
    return path


@pytest.fixture
def importing(aakit: Command, place: Path, no_data: Path) -> Callable[..., Ran]:
    """Import these files to out.safetensors."""

    def run(*files: object, out: object = place / "out.safetensors", experiment: Path = no_data) -> Ran:
        return aakit("import-checkpoint", *files, "--experiment", experiment, "--out", out)

    return run


def assert_plain(ran: Ran, messages: int = 1) -> None:
    """Exit code 2, that many messages, each with its fix, and no traceback."""
    assert ran.code == 2
    assert ran.err.count("error: ") == messages, ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n    fix: ") == messages, ran.err
    for trace in ("Traceback", 'File "', ".py"):
        assert trace not in ran.err
