"""What is read whole is a plain file of a bounded size."""

import os
from pathlib import Path

import pytest

from aaclip_kit.contracts.errors import UserError
from aaclip_kit.files.plain_file import read_json, read_plain, read_text


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["pipe", "endless", "folder", "large", "missing", "loop", "socket"])
def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(101)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "socket":
        import socket

        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    with pytest.raises(
        UserError, match=r"no plain file|no file|more than 100 bytes|no such file|cannot be read"
    ) as refused:
        read_plain(path, most=100, fix="name a run")
    assert refused.value.where == str(path) and refused.value.fix == "name a run"


def test_a_file_that_the_system_makes_while_it_is_read_is_bounded_too() -> None:
    with pytest.raises(UserError, match=r"more than 10 bytes"):
        read_plain(Path("/proc/self/maps"), most=10)


def test_a_file_that_grows_while_it_is_read_is_read_to_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    monkeypatch.setattr("aaclip_kit.files.plain_file.check_plain", lambda *_, **__: 4)
    assert read_plain(path, most=10) == b"0123456789"
    with pytest.raises(UserError, match="more than 9 bytes"):
        read_plain(path, most=9)


def test_a_text_may_begin_with_the_mark_of_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\xef\xbb\xbf{}")
    assert read_text(tmp_path / "file") == "{}" and read_json(tmp_path / "file") == {}


def test_a_link_to_a_plain_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("{}")
    (tmp_path / "link").symlink_to("real")
    assert read_json(tmp_path / "link") == {} and read_text(tmp_path / "link") == "{}"


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"])
def test_what_is_no_json_object_is_a_plain_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match=r"damaged|no JSON object|cannot be read"):
        read_json(tmp_path / "file")
