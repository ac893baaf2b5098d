from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.cache.folder import clear, default_folder, entries, part_path

from ..finding import without_home
from .given import OTHER, features, key, path_of, store


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AAKIT_CACHE": "one", "XDG_CACHE_HOME": "two"}, "one/features"),
        ({"XDG_CACHE_HOME": "two"}, "two/aaclip_kit/features"),
        ({"XDG_CACHE_HOME": ""}, "~/.cache/aaclip_kit/features"),
    ],
)
def test_the_default_folder(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str) -> None:
    for name in ("AAKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(expected).expanduser()


@pytest.mark.parametrize("named", [None, "~nobody-at-all/x"])
def test_no_home_is_one_error_with_what_to_set(monkeypatch: pytest.MonkeyPatch, named: str | None) -> None:
    without_home(monkeypatch)
    if named:
        monkeypatch.setenv("AAKIT_CACHE", named)
    with pytest.raises(UserError, match="no home folder is known") as caught:
        default_folder()
    assert caught.value.where == (named or "~/.cache") and "AAKIT_CACHE" in str(caught.value.fix)


def test_part_files_of_dead_runs_go_when_the_store_is_opened(tmp_path: Path) -> None:
    store(tmp_path).put(key(1), features(1))
    old, new = (part_path(path_of(tmp_path, 1)) for _ in range(2))
    foreign = old.with_name("download.part")
    for path, age in ((old, 2), (new, 0.5), (foreign, 2)):
        path.touch()
        os.utime(path, (time.time() - age * 86400,) * 2)
    store(tmp_path)
    assert [path.exists() for path in (old, new, foreign)] == [False, True, True]


def test_clearing_removes_the_stores_own_files_and_its_empty_folders(tmp_path: Path) -> None:
    store(tmp_path).put(key(1), features(1))
    store(tmp_path, identity=OTHER).put(key(1), features(1))
    part_path(path_of(tmp_path, 1)).touch()
    kept = [tmp_path / "photo.png", path_of(tmp_path, 1).with_name("notes.txt")]
    for path in kept:
        path.touch()
    assert clear(tmp_path) == []
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert entries(tmp_path) == []
    assert not (tmp_path / OTHER[:16]).exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    store(tmp_path / "real").put(key(1), features(1))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / OTHER[:16]).symlink_to(path_of(tmp_path / "real", 1).parents[1])
    assert entries(tmp_path / "cache") == []
    assert clear(tmp_path / "cache") == []
    assert path_of(tmp_path / "real", 1).exists()
