"""Hostile image files, beside what tests/data/test_decode.py has: files that are two things, that grow, that wait."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import DataSet, Sample, UserError
from aaclip_kit.data.decode import open_mask, open_picture
from aaclip_kit.data.image_file import MOST_BYTES
from aaclip_kit.data.manifests import list_images
from aaclip_kit.data.scan import scan_dataset

from ..pictures import chunk, encoded, noise, png
from ..tiers import daily
from .given import NO_FILES, within

pytestmark = pytest.mark.usefixtures("undrawn")

NOISE = noise(16, 20)


def rgb(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    """A PNG in three colours with these rows."""
    return png((width, height, 8, 2, 0, 0, 0), zlib.compress(pixels), *more)


@pytest.mark.parametrize(
    "tail",
    [b"PK\x03\x04 a zip's entry PK\x05\x06" + bytes(18), b"<html><script>alert(1)</script></html>", b"\x00" * 10**6],
    ids=["zip", "HTML", "zeros"],
)
def test_what_follows_a_picture_is_not_looked_at(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "a.png").write_bytes(encoded(NOISE, "PNG") + tail)
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "a.png")), NOISE)


def _with_frames(kind: str) -> bytes:
    frames = [Image.fromarray(NOISE), *[Image.new("RGB", (20, 16), (value, 0, 0)) for value in range(3)]]
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], lossless=True)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "TIFF"])
def test_of_several_pictures_none_is_chosen(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.img").write_bytes(_with_frames(kind))
    np.testing.assert_array_equal(np.asarray(open_picture(tmp_path / "a.img#1")), NOISE)
    with pytest.raises(UserError, match="holds 4 pictures where one is wanted"):
        open_picture(tmp_path / "a.img")


OTHERS = {
    "a program in PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run showpage\n",
    "ICO": encoded(NOISE, "ICO"),
    "PCX": encoded(NOISE, "PCX"),
    "SGI": encoded(NOISE, "SGI"),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "PDF": b"%PDF-1.4\n",
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS)
def test_formats_that_are_not_promised_are_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Pillow has others draw PostScript: a program of the machine's, run over the content of the file."""

    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("a program was started")

    for name in ("Popen", "run", "check_call", "call"):
        monkeypatch.setattr(f"subprocess.{name}", forbidden)
    monkeypatch.setattr("os.system", forbidden)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match="no image in PNG, JPEG, BMP, TIFF, WebP, GIF or PPM"):
        open_picture(tmp_path / "a.png")


def _tiles(count: int) -> bytes:
    """A TIFF whose table of tiles has so many entries, all of them one place."""
    tags = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1),
            (322, 4, 1, 16), (323, 4, 1, 16), (324, 4, count, 200), (325, 4, count, 200)]  # fmt: skip
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + table).ljust(200, b"\0") + struct.pack("<I", 200) * min(count, 10**6)


HUGE: dict[str, Callable[[], bytes]] = {
    "a table of a million tiles": lambda: _tiles(10**6),
    "a table of more tiles than there are bytes": lambda: _tiles(2**32 - 1),
    "no width": lambda: rgb(0, 10, b""),
    "the largest sides": lambda: rgb(2**31 - 1, 2**31 - 1, b""),
    "a GIF of two million frames": lambda: (
        encoded(NOISE, "GIF")[:-1] + bytes.fromhex("2c 00000000 01000100 00 02024401 00") * 2 * 10**6
    ),
    "one endless row": lambda: rgb(2**31 - 1, 1, b""),
    "pixels of another picture": lambda: rgb(9000, 9000, bytes(100)),
    "a text that grows to 2 GB": lambda: rgb(
        8, 8, bytes(25) * 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2 * 10**8)) * 10)
    ),
    "a colour profile that grows": lambda: rgb(
        8, 8, bytes(25) * 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2 * 10**8)))
    ),
}


@pytest.mark.filterwarnings("ignore:::PIL")  # as they are outside of tests
@pytest.mark.parametrize("name", daily(HUGE, *list(HUGE)[1:]))
def test_a_header_that_lies_costs_little(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(HUGE[name]())
    for reader in (open_picture, lambda file: open_mask(file, (8, 8))):
        with within(10):
            try:
                reader(path)
            except UserError as error:
                assert error.where == str(path)


def test_a_picture_unpacked_beyond_its_size_is_cut_there(tmp_path: Path) -> None:
    """200 MB of pixels in a file of 200 kB that says it is of 8 x 8."""
    (tmp_path / "a.png").write_bytes(rgb(8, 8, bytes(2 * 10**8)))
    with within(10):
        assert open_picture(tmp_path / "a.png").size == (8, 8)


OPENED = {
    "a link to itself": "cannot be read (Too many levels of symbolic links)",
    "a folder": "is a folder, and no file",
}
LISTED = {"a link to itself": "there is no such file or folder", "a folder": "there is no image in this folder"}


@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_neither_waited_for_nor_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.png"
    NO_FILES[name](path)
    with within(5):
        (fault,) = scan_dataset(DataSet((Sample(path, "a", 0),), {"a": "a"})).faults
        assert fault.where == str(path)
        with pytest.raises(UserError) as opened:
            open_picture(path)
        with pytest.raises(UserError) as listed:
            list_images([path])
    assert opened.value.problem == fault.problem == OPENED.get(name, "is no plain file")
    assert listed.value.problem == LISTED.get(name, "is no plain file")


def test_a_file_of_a_terabyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    os.truncate(path, 2**40)
    with within(5), pytest.raises(UserError, match=f"has more than {MOST_BYTES:,} bytes"):
        open_picture(path)
