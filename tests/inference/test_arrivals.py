"""Images that come into a watched folder: each once, when it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.inference.arrivals import arrivals


def test_each_image_comes_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    looks = arrivals([tmp_path], None, lambda: None, pause=0.0)

    def names() -> list[str]:
        return [item.image.name for item in next(looks)[0]]

    assert names() == [], "an empty folder is waited for"
    (tmp_path / "a.png").write_bytes(b"half")
    assert names() == []
    (tmp_path / "a.png").write_bytes(b"half and whole")
    assert names() == [], "it has grown since the last look"
    (tmp_path / "b.png").write_bytes(b"b")
    assert names() == ["a.png"]
    assert names() == ["b.png"]
    assert names() == []
    os.utime(tmp_path / "b.png", ns=(1, 1))
    assert [names(), names(), names()] == [[], ["b.png"], []]
    (tmp_path / "a.png").unlink()
    assert names() == []


def test_it_ends_by_what_is_called_before_each_step(tmp_path: Path) -> None:
    def enough() -> None:
        raise InterruptedError

    looks = arrivals([tmp_path], None, enough, pause=0.0)
    next(looks)
    with pytest.raises(InterruptedError):
        next(looks)


def test_what_is_no_folder_cannot_be_watched(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"a")
    with pytest.raises(UserError, match="there is no folder to watch"):
        next(arrivals([tmp_path / "a.png"], None, lambda: None))
