from __future__ import annotations

import shutil
import tempfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit.doctor.machine import cache, disk, place

from ..cache.given import MINE, OTHER, features, key, path_of, store

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, int(70e9)))
    return monkeypatch


def test_a_folder_that_will_be_made_is_looked_at_above_and_left_unmade(
    room: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "a" / "b"
    found = place("runs", folder, "go elsewhere")
    assert (found.status, found.found, found.advice) == ("good", f"{folder}: 70.0 GB free", None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "status"), [(0.1, "bad"), (1, "note"), (6, "good")])
def test_little_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: float, status: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, int(free * 1e9)))
    found = place("runs", tmp_path, "go elsewhere")
    assert (found.status, found.found) == (status, f"{tmp_path}: {free:.1f} GB free")
    assert status == "good" or "go elsewhere" in str(found.advice)


def test_a_file_in_the_way_cannot_be_written_into(room: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = place("runs", tmp_path / "file" / "runs", "go elsewhere")
    assert (found.status, found.advice) == ("bad", "go elsewhere")
    assert "cannot be written: Not a directory" in found.found


def test_a_folder_that_may_not_be_written(room: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(30, "Read-only file system")

    room.setattr(tempfile, "TemporaryFile", refuse)
    assert place("runs", tmp_path, "x").found == f"{tmp_path} cannot be written: Read-only file system"


def test_the_three_places(room: pytest.MonkeyPatch, tmp_path: Path) -> None:
    room.chdir(tmp_path)
    room.setenv("AAKIT_CACHE", str(tmp_path / "cache"))
    room.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    folders = [(one.name, one.status, one.found.partition(":")[0]) for one in disk()]
    assert folders == [
        ("runs", "good", str(tmp_path / "runs")),
        ("cache folder", "good", str(tmp_path / "cache")),
        ("temporary folder", "good", str(tmp_path / "tmp")),
    ]


def test_no_temporary_folder_is_bad(room: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    room.setattr(tempfile, "gettempdir", none)
    last = list(disk())[-1]
    assert last.status == "bad" and "TMPDIR" in str(last.advice)


def test_the_store_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAKIT_CACHE", str(tmp_path))
    (empty,) = cache()
    assert (empty.status, empty.found) == ("good", f"{tmp_path / 'features'}: 0 entries, 0.00 GB")
    for identity in (MINE, OTHER):
        store(tmp_path / "features", identity=identity).put(key(1), features(1))
        with path_of(tmp_path / "features", 1, identity).open("r+b") as file:
            file.truncate(30_000_000)
    (full,) = cache()
    assert full.found == f"{tmp_path / 'features'}: 2 entries, 0.06 GB"


def test_a_store_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAKIT_CACHE", str(tmp_path))
    (tmp_path / "features").touch()
    (found,) = cache()
    assert found.status == "bad" and "cannot be read: Not a directory" in found.found
    assert found.advice and "AAKIT_CACHE" in found.advice
