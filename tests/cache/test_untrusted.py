"""Files that are not what their place says are never used, and are made again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from aaclip_kit.cache import feature_store as disk_module

from .given import MINE, OTHER, features, key, path_of, store


def damaged(content: bytes, how: str) -> bytes:
    flipped = bytearray(content)
    flipped[-1] ^= 1
    return {
        "empty": b"",
        "cut in the numbers": content[:-9],
        "cut in the header": content[:20],
        "longer": content + b"\0",
        "one bit of the numbers": bytes(flipped),
        "noise": bytes(range(256)) * 4,
    }[how]


DAMAGE = ("empty", "cut in the numbers", "cut in the header", "longer", "one bit of the numbers", "noise")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_removed_and_made_again_with_one_line(tmp_path: Path, how: str) -> None:
    disk, paths = store(tmp_path), [path_of(tmp_path, number) for number in (1, 2)]
    for number, path in enumerate(paths, start=1):
        disk.put(key(number), features(number))
        path.write_bytes(damaged(path.read_bytes(), how))
    disk = store(tmp_path)
    assert disk.get(key(1)) is None and disk.get(key(2)) is None
    assert not any(path.exists() for path in paths)
    (line,) = disk.drain()
    assert str(paths[0]) in line and "is damaged" in line
    disk.put(key(1), features(1))
    found = disk.get(key(1))
    assert found is not None and torch.equal(found, features(1))
    assert disk.drain() == []


def test_a_file_of_another_version_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path).put(key(1), features(1))
    monkeypatch.setattr(disk_module, "FORMAT", 999)
    disk = store(tmp_path)
    assert disk.get(key(1)) is None
    assert "is of another version" in disk.drain()[0]
    disk.put(key(1), features(1))
    assert disk.get(key(1)) is not None


@pytest.mark.parametrize("identity, number", [(MINE, 2), (OTHER, 1)], ids=["another image's", "another backbone's"])
def test_a_copy_of_another_entry_is_not_taken_for_this_one(tmp_path: Path, identity: str, number: int) -> None:
    store(tmp_path, identity=identity).put(key(number), features(number))
    path = path_of(tmp_path, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path_of(tmp_path, number, identity), path)
    disk = store(tmp_path)
    assert disk.get(key(1)) is None
    assert "is of another backbone or image" in disk.drain()[0]
    assert not path.exists() and path_of(tmp_path, number, identity).exists()


def test_backbones_whose_identities_begin_alike_are_told_apart(tmp_path: Path) -> None:
    store(tmp_path).put(key(1), features(1))
    assert store(tmp_path, identity=MINE[:16] + OTHER[16:]).get(key(1)) is None


@pytest.mark.parametrize("about", [None, {"version": "1"}], ids=["none", "half"])
def test_tensors_without_the_stores_own_words_are_not_trusted(tmp_path: Path, about: dict[str, str] | None) -> None:
    path = path_of(tmp_path, 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(save({"features": features(1)}, about))
    assert store(tmp_path).get(key(1)) is None
    assert not path.exists()


def test_what_cannot_be_removed_is_still_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, path = store(tmp_path), path_of(tmp_path, 1)
    disk.put(key(1), features(1))
    path.write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    disk = store(tmp_path)
    for _ in range(2):
        assert disk.get(key(1)) is None
        disk.put(key(1), features(1))
    assert len(disk.drain()) == 1
    assert path.read_bytes() == b"x"


def test_what_lies_there_but_is_no_file_is_left_alone(tmp_path: Path) -> None:
    path = path_of(tmp_path, 1)
    path.mkdir(parents=True)
    disk = store(tmp_path)
    assert disk.get(key(1)) is None and disk.get(key(1)) is None
    disk.put(key(1), features(1))
    (line,) = disk.drain()
    assert "cannot be read" in line and str(path) in line
    assert os.path.isdir(path)  # noqa: PTH112
