"""A disk that fails costs time and one line, never a run."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

from ..limits import files_of_at_most
from .given import MINE, features, key, path_of, store


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_write_that_ends_half_way_leaves_nothing_and_stops_the_storing(tmp_path: Path) -> None:
    disk = store(tmp_path)
    disk.put(key(1), features(1))
    with files_of_at_most(100):
        disk.put(key(2), features(2))
    disk.put(key(3), features(3))
    assert files(tmp_path) == [path_of(tmp_path, 1)]
    (line,) = disk.drain()
    assert "cannot be written (File too large)" in line and str(tmp_path) in line
    assert disk.get(key(1)) is not None, "what is there is still read"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO], ids=errno.errorcode.get)
def test_every_fault_of_the_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    disk, tried = store(tmp_path), []

    def fail(path: Path, content: bytes) -> int:
        tried.append(path)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fail)
    for index in range(3):
        disk.put(key(index), features(index))
        assert disk.get(key(index)) is None
    assert len(tried) == 1, "it is not tried again for every view"
    (line,) = disk.drain()
    assert os.strerror(number) in line


def test_a_place_where_no_folder_can_be_made_stops_the_storing(tmp_path: Path) -> None:
    disk = store(tmp_path)
    (tmp_path / MINE[:16]).write_text("in the way")
    disk.put(key(1), features(1))
    assert disk.get(key(1)) is None
    assert "cannot be written" in disk.drain()[0]
    assert (tmp_path / MINE[:16]).read_text() == "in the way"


def test_a_folder_that_is_deleted_on_the_way_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    disk = store(folder)
    disk.put(key(1), features(1))
    shutil.rmtree(folder)
    assert disk.get(key(1)) is None
    for number in (1, 2):
        disk.put(key(number), features(number))
    found = disk.get(key(1))
    assert found is not None and torch.equal(found, features(1))
    assert disk.drain() == []


def test_a_folder_that_is_deleted_while_an_entry_is_written_costs_that_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, write = tmp_path / "cache", Path.write_bytes
    disk = store(folder)

    def deleted_meanwhile(path: Path, content: bytes) -> int:
        shutil.rmtree(folder)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", deleted_meanwhile)
    disk.put(key(1), features(1))
    monkeypatch.setattr(Path, "write_bytes", write)
    disk.put(key(2), features(2))
    assert [disk.get(key(number)) is not None for number in (1, 2)] == [False, True]
    assert disk.drain() == []


def test_an_entry_that_cannot_be_read_is_made_again_and_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aaclip_kit.cache import feature_store as entry

    disk = store(tmp_path)
    disk.put(key(1), features(1))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(entry, "safe_open", refuse)
    assert disk.get(key(1)) is None and disk.get(key(1)) is None
    (line,) = disk.drain()
    assert "cannot be read" in line and "Permission denied" in line
    assert path_of(tmp_path, 1).exists()
