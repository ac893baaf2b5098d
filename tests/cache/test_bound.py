"""The folder stays within its bound: what was used longest ago goes first, and nothing that this run uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aaclip_kit.cache.folder import Entry, entries

from .given import MINE, OTHER, features, key, path_of, size_of_entry, store


@pytest.fixture
def one(tmp_path: Path) -> int:
    """Bytes of an entry."""
    return size_of_entry(tmp_path / "measure")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with entries 0 to 3, used in that order, of two backbones in turn."""
    folder = tmp_path / "cache"
    for number in range(4):
        identity = OTHER if number % 2 else MINE
        store(folder, identity=identity).put(key(number), features(number))
        os.utime(path_of(folder, number, identity), (1000 + number, 1000 + number))
    return folder


def held(folder: Path) -> set[int]:
    """Numbers of the entries that are there."""
    names = {entry.path.stem for entry in entries(folder)}
    return {number for number in range(20) if key(number) in names}


def test_the_oldest_of_any_backbone_make_room(folder: Path, one: int) -> None:
    disk = store(folder, 4 * one)
    disk.put(key(10), features(10))
    assert held(folder) == {1, 2, 3, 10}
    disk.put(key(11), features(11))
    assert held(folder) == {2, 3, 10, 11}
    assert disk.drain() == []


def test_reading_counts_as_use_for_this_run_and_for_others(folder: Path, one: int) -> None:
    before = path_of(folder, 0).stat().st_mtime
    assert store(folder).get(key(0)) is not None
    assert path_of(folder, 0).stat().st_mtime > before
    disk = store(folder, 4 * one)  # another run: to it 1 is the oldest now
    disk.put(key(10), features(10))
    assert held(folder) == {0, 2, 3, 10}


def test_nothing_that_this_run_has_used_is_removed(folder: Path, one: int) -> None:
    disk = store(folder, 4 * one)
    assert disk.get(key(0)) is not None
    os.utime(path_of(folder, 0), (1, 1))
    for number in range(10, 15):
        disk.put(key(number), features(number))
    assert held(folder) == {0, 10, 11, 12}
    (line,) = disk.drain()
    assert "is full (cache.disk_gb = " in line and str(folder) in line
    assert disk.get(key(10)) is not None


def test_nothing_is_removed_for_an_entry_that_cannot_fit(folder: Path, one: int) -> None:
    disk = store(folder, one - 1)
    disk.put(key(10), features(10))
    assert held(folder) == {0, 1, 2, 3}
    assert len(disk.drain()) == 1


def test_a_run_sees_what_others_have_added(tmp_path: Path, one: int) -> None:
    folder = tmp_path / "cache"
    runs = [store(folder, 40 * one) for _ in range(3)]
    for number in range(20):
        for index, run in enumerate(runs):
            run.put(key(100 * index + number), features(number))
            total = sum(entry.size for entry in entries(folder))
            assert total <= 40 * one * (1 + 2 / 20), "each of two others may be a twentieth ahead"
    assert total > 30 * one


def test_the_folder_is_not_listed_for_every_entry(tmp_path: Path, one: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from aaclip_kit.cache import feature_store as room

    listings: list[Path] = []

    def listed(folder: Path) -> list[Entry]:
        listings.append(folder)
        return entries(folder)

    monkeypatch.setattr(room, "entries", listed)
    disk = store(tmp_path / "cache", 400 * one)
    for number in range(60):
        disk.put(key(number), features(number))
    assert 2 <= len(listings) <= 5


def test_files_of_others_are_neither_counted_nor_removed(tmp_path: Path, one: int) -> None:
    folder = tmp_path / "photos"
    own = path_of(folder, 1)
    strangers = [
        folder / "weights.safetensors",
        folder / MINE[:16] / "notes.txt",
        own.with_name("model.safetensors"),
        own.parent.with_name("zz") / own.name,
        folder / "Holidays" / own.parent.name / own.name,
        own.with_name(f"{key(1)}.jpg"),
    ]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 10 * one)
        os.utime(path, (1, 1))
    disk = store(folder, one)
    for number in (1, 2):
        disk.put(key(number), features(number))
    assert disk.get(key(1)) is not None
    store(folder, one).put(key(3), features(3))
    assert held(folder) == {3}
    assert all(path.stat().st_size == 10 * one for path in strangers)
