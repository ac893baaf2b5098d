"""Streams that cannot hold every letter: what they lack is spelled out, and no command ends for it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit.cli import main

Ran = tuple[int, str, str]


@pytest.fixture
def into(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `aakit` with both streams in an encoding; returns exit code and what was written."""

    def run(encoding: str, *arguments: object) -> Ran:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
        monkeypatch.setattr(sys, "argv", ["aakit", *map(str, arguments)])
        for name, stream in zip(("stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as left:
            main()
        for stream in streams:
            stream.flush()
        # Click writes usage errors as UTF-8 where a stream is ASCII.
        out, err = (stream.buffer.getvalue().decode(encoding, "replace") for stream in streams)
        return int(left.value.code or 0), out, err

    return run


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_class_in_other_letters(into: Callable[..., Ran], encoding: str, defects: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "螺丝").symlink_to(defects / "red_cloth")
    code, out, err = into(encoding, "data", "check", tmp_path / "data")
    assert (code, err) == (0, "")
    assert r"\u87ba\u4e1d" in out


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("name", ["螺丝 ±", "caf\udce9"])
def test_faults_and_usage_errors(into: Callable[..., Ran], encoding: str, name: str) -> None:
    code, out, err = into(encoding, "data", "check", name)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and "\\u" in err
    assert into(encoding, "data", "check", "--" + name)[0] == 2
    assert into(encoding, "show", name)[0] == 2


def test_a_class_folder_in_another_encoding_is_a_fault(into: Callable[..., Ran], defects: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / os.fsdecode(b"caf\xe9")).symlink_to(defects / "red_cloth")
    for arguments in ([], ["--json"]):
        code, _, err = into("utf-8", "data", "check", tmp_path / "data", *arguments)
        assert code == 2
        assert err.startswith("error: ") and r"caf\udce9" in err
