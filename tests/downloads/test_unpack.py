"""Archives are unpacked into their folder and nowhere else; what an archive of images has no need of is refused."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.downloads import unpack as module
from aaclip_kit.downloads.unpack import unpack

FILES = {"a/one.png": b"1" * 100, "a/b/two.png": b"2"}


def tarred(path: Path, files: dict[str, bytes], mode: str = "w", **changed: object) -> Path:
    """A tar of these files; `changed` are fields of every member."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in changed.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes], mode: int = 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, content)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "zip"])
def test_files_come_out_as_they_went_in(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "archive"
    archive = zipped(path, FILES) if mode == "zip" else tarred(path, FILES, mode)
    assert unpack(archive, tmp_path / "out") == 2
    found = {str(file.relative_to(tmp_path / "out")): file.read_bytes() for file in (tmp_path / "out").rglob("*.png")}
    assert found == FILES


@pytest.mark.parametrize(
    "name", ["../out.png", "/tmp/out.png", "a/../../out.png", "C:/out.png", "..\\out.png", "a\x1bb"]
)
@pytest.mark.parametrize("make", [tarred, zipped])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, make: Callable[..., Path], name: str) -> None:
    refused(make(tmp_path / "archive", {**FILES, name: b"x"}), tmp_path / "here" / "out", "leaves its folder")
    assert not list(tmp_path.rglob("out.png"))


@pytest.mark.parametrize("make", [tarred, zipped])
def test_a_path_longer_than_any_of_a_data_set_is_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    archive = make(tmp_path / "archive", {"/".join(["d"] * 2000): b"x"})
    refused(archive, tmp_path / "out", "a path of 3,999 characters: d/d/")


@pytest.mark.parametrize("make", [tarred, zipped])
@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_a_name_of_a_file_and_of_a_folder_is_refused(
    tmp_path: Path, make: Callable[..., Path], names: tuple[str, str]
) -> None:
    archive = make(tmp_path / "archive", dict.fromkeys(names, b"x"))
    refused(archive, tmp_path / "out", f"holds {names[1]} twice, or as a file and a folder")


def test_a_tar_whose_head_is_damaged_is_refused(tmp_path: Path) -> None:
    """Of a sparse file's map tarfile says in its own way that it is none."""
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a"}
    archive = tarred(tmp_path / "archive", {"a.png": b""}, pax_headers=sparse)
    refused(archive, tmp_path / "out", "is damaged")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "archive", {"a": b""}, type=kind, linkname="../../etc")
    refused(archive, tmp_path / "out", "neither file nor folder")
    refused(zipped(tmp_path / "zip", {"a": b"../../etc"}, 0o120777), tmp_path / "out", "holds a link")


@pytest.mark.parametrize("make", [tarred, zipped])
def test_a_bomb_is_stopped_while_it_unpacks(
    tmp_path: Path, make: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ALLOWED", 1000)
    bomb = {"a.png": bytes(4 << 20)}
    archive = zipped(tmp_path / "zip", bomb) if make is zipped else tarred(tmp_path / "tar", bomb, "w:xz")
    refused(archive, tmp_path / "out", "times its size")


def test_too_many_files_and_a_name_twice_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(tmp_path / "twice", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("a.png"))
    refused(tmp_path / "twice", tmp_path / "out", "holds a.png twice")
    monkeypatch.setattr(module, "MOST_FILES", 1)
    refused(tarred(tmp_path / "many", FILES), tmp_path / "out", "more than 1 files")


@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "zip"])
def test_a_damaged_archive_is_refused(tmp_path: Path, mode: str) -> None:
    path, files = tmp_path / "archive", {"a.png": bytes(range(256)) * 300}
    archive = zipped(path, files) if mode == "zip" else tarred(path, files, mode)
    whole = archive.read_bytes()
    middle = len(whole) // 2
    archive.write_bytes(whole[: middle - 40] + bytes(40) + whole[middle:])
    refused(archive, tmp_path / "out", "is damaged|is no archive")
    archive.write_bytes(b"<html>not found</html>")
    refused(archive, tmp_path / "out", "is no archive")


def refused(archive: Path, folder: Path, said: str) -> None:
    """One plain message, and nothing left of what was unpacked until then."""
    with pytest.raises(UserError, match=said):
        unpack(archive, folder)
    assert not folder.exists()
