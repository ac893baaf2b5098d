"""Hostile manifests and lists of images: bounded in time and in memory, and they lead nowhere outside their root."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aaclip_kit_plugins.manifest import register_data_sets
from PIL import Image

from aaclip_kit import DataSet, UserError
from aaclip_kit.data.manifests import list_images

from ..plugins.registered import registered
from .given import NO_FILES, within

MEGABYTES = 50


def read(manifest: Path, **options: Any) -> DataSet:
    factory, model = registered(register_data_sets)["manifest"]
    return factory(model(manifest=manifest, **options))


READERS: dict[str, Callable[[Path], Any]] = {"manifest": read, "list": lambda path: list_images([path])}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("name", "head", "row"),
    [
        ("rows.jsonl", b"", b"{}\n"),
        pytest.param("rows.jsonl", b"", b"[[[[[[[[[[[[[[[[\n", marks=pytest.mark.slow),
        pytest.param("blank.jsonl", b"", b"\n", marks=pytest.mark.slow),
        pytest.param("line.jsonl", b"", b"x", marks=pytest.mark.slow),
        ("brackets.jsonl", b"", b"["),
        pytest.param("rows.csv", b"image_path,label,class_name\n", b"a,0,b\n", marks=pytest.mark.slow),
        pytest.param("wide.csv", b"image_path,label,class_name\n", b",,,,,,,\n", marks=pytest.mark.slow),
        ("quote.csv", b'image_path,label,class_name\n"', b"x"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_50_megabytes_ends_soon_in_one_error(
    tmp_path: Path, reader: Callable[[Path], Any], name: str, head: bytes, row: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(head + row * (MEGABYTES * 2**20 // len(row)))
    with within(60), pytest.raises(UserError) as caught:
        found = reader(path)
        raise found.faults[0] if isinstance(found, DataSet) else found[1][0]
    assert str(path) in str(caught.value)


def test_rows_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"{}\n" * (MEGABYTES * 2**20 // 3))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="more than 10,000 rows are faulty"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 40e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
def test_what_is_no_file_is_neither_waited_for_nor_read(
    tmp_path: Path, reader: Callable[[Path], Any], suffix: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / f"list{suffix}"
    make(path)
    with within(5), pytest.raises(UserError) as caught:
        reader(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("coding", ["utf-16-le", "utf-32", "latin-1"])
def test_another_encoding_is_named(tmp_path: Path, reader: Callable[[Path], Any], coding: str) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes("image_path,label,class_name\né.png,0,é\n".encode(coding))
    with pytest.raises(UserError, match="UTF-8"):
        reader(path)


CELLS = {
    "half a character": {"class_name": "\ud800"},
    "a command to the terminal": {"class_name": "\x1b[2J"},
    "a line end": {"class_name": "a\nb"},
    "a mark of direction": {"class_name": "a\u202egnp.exe"},
    "lists in a list": {"class_name": [[[[]]]]},
    "a path of half a character": {"image_path": "\ud800"},
    "a path with a zero byte": {"image_path": "a\0.png"},
    "an endless path": {"image_path": "a/" * 50_000},
    "a path out of the root": {"image_path": "../a.png"},
    "an absolute path": {"image_path": "/etc/hostname"},
    "a path through a file": {"image_path": "a.png/a.png"},
    "a device": {"image_path": "/dev/zero"},
    "a table for a label": {"label": {}},
    "infinity for a label": {"label": float("inf")},
    "no number for a label": {"label": float("nan")},
    "a mask out of the root": {"label": 1, "mask_path": "../../mask.png"},
}


@pytest.mark.parametrize("cells", CELLS.values(), ids=CELLS)
def test_a_hostile_row_is_one_fault_that_can_be_shown(tmp_path: Path, cells: dict[str, Any]) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for path in (root / "a.png", tmp_path / "a.png", tmp_path / "mask.png"):
        Image.new("RGB", (8, 8)).save(path)
    manifest = root / "list.jsonl"
    manifest.write_text(json.dumps({"image_path": "a.png", "label": 0, "class_name": "a", **cells}))
    found = read(manifest)
    (fault,) = found.faults
    assert found.samples == ()
    assert str(fault).isascii() and "\x1b" not in str(fault) and len(str(fault)) < 20_000


@pytest.mark.parametrize("depth", [900, 100_000])
def test_a_label_of_nested_lists(tmp_path: Path, depth: int) -> None:
    manifest = tmp_path / "list.jsonl"
    row = json.dumps({"image_path": "a", "class_name": "a"})[:-1]
    manifest.write_text(f'{row}, "label": {"[" * depth}{"]" * depth}}}')
    with within(10):
        assert len(read(manifest).faults) == 1


def test_links_are_followed_inside_the_root_alone(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "root" / "inside.png")
    (tmp_path / "root" / "good.png").symlink_to("inside.png")
    (tmp_path / "root" / "bad.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "root" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "root" / "loop.png").symlink_to("loop.png")
    manifest = tmp_path / "root" / "list.jsonl"
    names = ("good.png", "bad.png", "up/outside.png", "loop.png")
    manifest.write_text("".join(json.dumps({"image_path": n, "label": 0, "class_name": "a"}) + "\n" for n in names))
    found = read(manifest)
    assert [sample.image.name for sample in found.samples] == ["good.png"]
    assert [str(fault.where)[-1] for fault in found.faults] == ["2", "3", "4"]
