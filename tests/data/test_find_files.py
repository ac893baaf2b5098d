"""What a search for images finds and tells of, and rows of lists as people write them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from aaclip_kit import UserError
from aaclip_kit.data.find_files import ListRow, passed_over, read_list, search_folder

from ..finding import forbidden, touch


def test_what_a_search_leaves_out_is_told_by_reason(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b/c.JPG", "x.heic", "b/y.HEIC", "scan.dcm", "dicom", ".d.png", ".e/f.png", ".notes.txt")
    touch(tmp_path.parent / "elsewhere", "g.png")
    (tmp_path / "link").symlink_to(tmp_path.parent / "elsewhere")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    found = search_folder(tmp_path)
    names = ["a.png", "b/c.JPG", "gone.png", "loop.png"]
    assert [path.relative_to(tmp_path).as_posix() for path in found.images] == names, "reading tells of what is gone"
    (line,) = passed_over(found.left_out)
    assert line.startswith("passed over: 2 .heic (such as ")
    for said in ("2 hidden (", "1 .dcm (", "1 without an ending (", "1 linked folders ("):
        assert said in line
    assert "notes" not in line and not found.faults


def test_many_reasons_are_counted_together_and_none_is_no_line(tmp_path: Path) -> None:
    (line,) = passed_over((f".{number}", tmp_path) for number in range(20))
    assert line.count("such as") == 8 and line.endswith(", 12 others")
    assert passed_over([]) == ()


def test_a_folder_that_may_not_be_read_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a/1.png", "b/2.png", "lost+found/x")
    forbidden(monkeypatch, tmp_path / "b", tmp_path / "lost+found")
    found = search_folder(tmp_path)
    (fault,) = found.faults
    assert (fault.where, fault.problem) == (str(tmp_path / "b"), "cannot be read (Permission denied)") and fault.fix
    assert found.images == [tmp_path / "a/1.png"]
    assert found.left_out == [("lost+found", tmp_path / "lost+found")], "the disk's own"


def test_1200_nested_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        for _ in range(1200):
            Path("d").mkdir()
            os.chdir("d")
        Path("a.png").touch()
        monkeypatch.chdir(tmp_path)
        (image,) = search_folder(Path("d")).images
        assert len(image.parts) == 1201
    finally:  # what takes the folders of tests away walks down by calling itself
        monkeypatch.chdir(tmp_path)
        for depth in range(1200, 0, -1):
            shutil.rmtree(Path(*["d"] * depth))


def rows_of(file: Path, *columns: str) -> list[dict[str, Any]]:
    return read_list(file, columns, lambda row: row.entry)[0]


TABLE = "image_path,label,class_name,mask_path\nlid\\é.png,1,lid,m.png\nb.png,0,lid,\n"
WRITTEN = {
    "semicolons": TABLE.replace(",", ";").encode(),
    "tabs in UTF-16": TABLE.replace(",", "\t").encode("utf-16"),
    "UTF-16, the other way round": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "a mark before UTF-8, and other ends of lines": TABLE.replace("\n", "\r\n").encode("utf-8-sig"),
    "blanks in the first line": TABLE.replace("label", " label ").encode(),
    "a line that names the separator": b"sep=;\n" + TABLE.replace(",", ";").encode(),
    "empty rows and cells": (TABLE.replace("\n", ",,\n") + ",,,,,\n , ,,,\n").encode(),
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
def test_tables_as_spreadsheets_write_them(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(content)
    rows = rows_of(file, "image_path", "label")
    assert [list(row.values())[:4] for row in rows] == [["lid\\é.png", "1", "lid", "m.png"], ["b.png", "0", "lid", ""]]
    assert list(rows[0])[:4] == ["image_path", "label", "class_name", "mask_path"]


def test_another_encoding_is_refused_with_how_to_save_it(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(TABLE.encode("cp1252"))
    with pytest.raises(UserError, match="no text in UTF-8") as caught:
        rows_of(tmp_path / "list.csv")
    assert "CSV UTF-8" in str(caught.value.fix)


def test_a_column_or_key_that_is_there_twice_is_a_fault(tmp_path: Path) -> None:
    table, lines = tmp_path / "list.csv", tmp_path / "list.jsonl"
    table.write_text("image_path,label,class_name,mask_path, label\na.png,0,lid,,1\n")
    with pytest.raises(UserError, match="the first line names the column label more than once"):
        rows_of(table)
    lines.write_text('{"image_path": "a.png", "label": 1, "label": 0}\n')
    _, (fault,) = read_list(lines, ("image_path",), lambda row: row)
    assert fault.problem == "is no JSON (the key label is there twice)"


def test_json_lines_in_utf_16(tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_bytes('{"image_path": "é.png"}\r\n'.encode("utf-16"))
    assert rows_of(tmp_path / "list.jsonl") == [{"image_path": "é.png"}]


@pytest.mark.parametrize("empty", [None, "", " ", float("nan"), "NaN", "nan", "None", "null"])
def test_what_tables_write_for_nothing_is_nothing(empty: object) -> None:
    assert ListRow("line 1", {"mask_path": empty}).text("mask_path") is None
    with pytest.raises(UserError, match='"mask_path" is missing'):
        ListRow("line 1", {"mask_path": empty}).file("mask_path", Path())


def test_blanks_around_a_text_do_not_count_unless_a_file_has_them(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.png", " c.png", "d\\e.png")
    assert ListRow("line 1", {"class_name": "\u00a0lid "}).text("class_name") == "lid"
    for written, name in (("a/b.png ", "a/b.png"), ("a\\b.png", "a/b.png"), (" c.png", " c.png"), ("d\\e.png",) * 2):
        assert ListRow("line 1", {"image_path": written}).file("image_path", tmp_path) == tmp_path / name


def test_a_path_stays_below_the_root_with_links_followed(tmp_path: Path) -> None:
    touch(tmp_path, "store/1f", "root/b.png")
    (tmp_path / "root" / "a.png").symlink_to(tmp_path / "store" / "1f")
    row = ListRow("list.csv, line 2", {"image_path": "a.png"})
    with pytest.raises(UserError, match="leads outside the root") as caught:
        row.file("image_path", tmp_path / "root")
    assert "--root" in str(caught.value.fix) and caught.value.where == "list.csv, line 2"
    absolute = ListRow("line 1", {"image_path": str(tmp_path / "root" / "a.png")})
    assert absolute.file("image_path", tmp_path) == tmp_path / "root" / "a.png", "under its own name"
    with pytest.raises(UserError, match="is a folder"):
        ListRow("line 1", {"image_path": "store"}).file("image_path", tmp_path)


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_path_that_a_separator_tears_apart_is_told_as_such(tmp_path: Path, separator: str) -> None:
    name = f"part 1{separator}5 mm{separator}x.png"
    touch(tmp_path, name, "a.png")
    head = separator.join(("image_path", "label", "class_name", "mask_path", "note"))
    lines = [separator.join((one, "0", "lid")) for one in (name, "a.png", "b", f'"{name}"')]
    path = tmp_path / "list.csv"
    path.write_text("\n".join([head, *lines, separator.join("123456")]))

    def read(row: ListRow) -> Path:
        row.check_whole("image_path", tmp_path)
        return row.file("image_path", tmp_path)

    found, (torn, missing, long) = read_list(path, ("image_path",), read)
    assert [one.name for one in found] == ["a.png", name]
    assert (torn.where, torn.problem) == (f"{path}, line 2", f'"image_path" ends at the {separator!r} in {name}')
    assert torn.fix == f'put quotes around the path: "{name}"'
    assert missing.problem == f'"image_path": there is no file {tmp_path / "b"}'
    assert long.problem == "has 6 cells, and the first line 5"
    assert long.fix == f"put quotes around a path or a name with {separator!r} in it"
