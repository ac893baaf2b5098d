from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..cache.given import MINE, OTHER, features, key, path_of, store
from ..command import Command
from ..finding import without_home


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two entries of one backbone, and one, used last, of another."""
    folder = tmp_path / "cache"
    for number, identity in ((1, MINE), (2, MINE), (1, OTHER)):
        store(folder, identity=identity).put(key(number), features(number))
        os.utime(path_of(folder, number, identity), (86400 * number, 86400 * number))
    os.utime(path_of(folder, 1, OTHER), (86400 * 9, 86400 * 9))
    return folder


def test_what_is_held_is_shown_by_backbone(aakit: Command, folder: Path) -> None:
    ran = aakit("cache", "--folder", folder)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{folder}: 3 entries, 0.00 MB\n")
    rows = [line.split() for line in ran.out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [[OTHER[:16], "1"], [MINE[:16], "2"]]
    assert [row[-1] for row in rows] == ["1970-01-10T00:00:00+00:00", "1970-01-03T00:00:00+00:00"]


def test_as_json(aakit: Command, folder: Path) -> None:
    record = json.loads(aakit("cache", "--folder", folder, "--json").out)
    size = path_of(folder, 1).stat().st_size
    assert record["folder"] == str(folder)
    assert (record["entries"], record["bytes"], record["deleted"]) == (3, 3 * size, False)
    assert record["backbones"][1] == {
        "identity": MINE[:16],
        "entries": 2,
        "bytes": 2 * size,
        "last_used": "1970-01-03T00:00:00+00:00",
    }


def test_clearing_says_what_it_deleted_and_leaves_the_rest(aakit: Command, folder: Path) -> None:
    (folder / "photo.png").touch()
    assert aakit("cache", "--folder", folder, "--clear").out == f"{folder}: deleted 3 entries, 0.00 MB\n"
    assert [path.name for path in folder.iterdir()] == ["photo.png"]
    assert aakit("cache", "--folder", folder).out == f"{folder}: 0 entries, 0.00 MB\n"


def test_the_default_folder_may_not_exist_yet(aakit: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AAKIT_CACHE", str(tmp_path / "none"))
    for options in ((), ("--clear",)):
        ran = aakit("cache", *options)
        assert ran.code == 0 and str(tmp_path / "none" / "features") in ran.out
    assert not (tmp_path / "none").exists()


def test_a_user_without_a_home_is_told_what_to_set(aakit: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    without_home(monkeypatch)
    ran = aakit("cache")
    assert ran.code == 2 and ran.err.startswith("error: ~/.cache: no home folder is known\n    fix: set ")
    assert "there is no such folder" in aakit("cache", "--folder", "~nobody-at-all/x").err


def test_bad_folders_are_one_message(aakit: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, words in (("none", "there is no such folder"), ("file", "cannot be read: Not a directory")):
        ran = aakit("cache", "--folder", tmp_path / name)
        assert ran.code == 2
        assert ran.err.startswith(f"error: {tmp_path / name}: {words}\n    fix: ")


def test_files_that_cannot_be_deleted_are_counted(
    aakit: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse_one(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith(key(2)):
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_one)
    ran = aakit("cache", "--folder", folder, "--clear")
    assert ran.code == 2 and "1 files could not be deleted" in ran.err
    assert path_of(folder, 2).exists() and not path_of(folder, 1).exists()


def test_it_needs_no_torch(folder: Path) -> None:
    code = """import sys
from aaclip_kit.cli import app
app(sys.argv[1:], standalone_mode=False)
print('torch' in sys.modules)"""
    arguments = [sys.executable, "-c", code, "cache", "--folder", str(folder)]
    ran = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines()[-1] == "False", ran.stderr
