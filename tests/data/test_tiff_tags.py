"""What a TIFF's tags make of its grey values, and which of its directories are pictures."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.data.decode import open_mask, open_picture
from aaclip_kit.data.image_file import pages_of
from aaclip_kit.data.tiff_tags import MOST_PAGES, page_places

from .tiffs import tiff

GREY = np.array([[0, 2560, 65535, 0]], np.uint16)


def grey(path: Path) -> list[int]:
    return np.asarray(open_picture(path))[0, :, 0].tolist()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.int16, np.int8])
def test_signed_numbers_are_refused_in_images_and_masks(tmp_path: Path, kind: Any, order: str) -> None:
    slice_of_ct = np.array([[-100, 40, 100, 0]]).astype(np.dtype(kind).newbyteorder(order))
    path = tiff(tmp_path / "ct.tif", slice_of_ct, {339: (3, 2)}, order)
    for read in (open_picture, lambda file: open_mask(file, None)):
        with pytest.raises(UserError, match="its tag SampleFormat 2 gives grey values a meaning that is not read"):
            read(path)


@pytest.mark.parametrize(
    ("tags", "named"),
    [
        ({281: (3, 4095)}, "MaxSampleValue 4095"),
        ({341: (3, 1023)}, "SMaxSampleValue 1023"),
        ({270: (2, b"ImageJ=1.53\nmin=0\nc0=-32768.0\nc1=1.0\n\0")}, "ImageDescription"),
        ({270: (2, b'<OME><Pixels SignificantBits="12" Type="uint16"/></OME>\0')}, "ImageDescription"),
        ({270: (2, b"<OME><Pixels SignificantBits = '10' Type='uint16'/></OME>\0")}, "ImageDescription"),
        ({42112: (2, b'<GDALMetadata><Item name="OFFSET" role="offset">-3</Item></GDALMetadata>\0')}, "GDAL_METADATA"),
        ({42112: (2, b"<GDALMetadata><Item role = 'scale'>0.1</Item></GDALMetadata>\0")}, "GDAL_METADATA"),
        ({51123: (2, b'{"Binning": "1", "BitDepth": 12, "Width": 4}\0')}, "MicroManagerMetadata"),
        ({42113: (2, b"255\0")}, "GDAL_NODATA"),
        ({291: (3, 7)}, "GrayResponseCurve"),
        ({301: (3, np.arange(256, dtype=np.uint16).tobytes())}, "TransferFunction"),
        ({332: (3, 2)}, "InkSet 2"),
        ({50717: (3, 4095)}, "WhiteLevel"),
    ],
)
def test_a_tag_that_gives_grey_another_meaning_is_named(tmp_path: Path, tags: dict[int, Any], named: str) -> None:
    path = tiff(tmp_path / "a.tif", GREY, tags)
    with pytest.raises(UserError, match=f"its tag {named} ") as caught:
        open_picture(path)
    assert caught.value.where == str(path) and "without the tag" in (caught.value.fix or "")


@pytest.mark.parametrize(
    "tags",
    [
        {339: (3, 1)},
        {281: (3, 3321)},
        {270: (2, b"ImageJ=1.53\nmin=0.0\nmax=9.0\n\0")},
        {270: (2, b'<OME><Pixels SignificantBits="16"/></OME>\0')},
        {51123: (2, b'{"BitDepth":16}\0')},
        {305: (2, b"x\0")},
    ],
)
def test_tags_that_change_nothing_are_passed_over(tmp_path: Path, tags: dict[int, Any]) -> None:
    assert grey(tiff(tmp_path / "a.tif", GREY, tags)) == [0, 10, 255, 0]


def ratios(*values: int) -> tuple[int, bytes]:
    """The values of a tag as fractions."""
    return 5, b"".join(struct.pack("<II", value, 1) for value in values)


def shorts(*values: int) -> tuple[int, bytes]:
    """The values of a tag as whole numbers of 16 bits."""
    return 3, struct.pack(f"<{len(values)}H", *values)


COLOURS = np.array([[[0, 10, 20], [200, 100, 50]]], np.uint8)
THREE: dict[int, tuple[int, int | bytes]] = {258: shorts(8, 8, 8), 262: (3, 2), 277: (3, 3)}
FOUR: dict[int, tuple[int, int | bytes]] = {258: shorts(8, 8, 8, 8), 262: (3, 5), 277: (3, 4)}
GREYS = np.array([[[9, 128, 128], [200, 128, 128]]], np.uint8)
FULL, NO_COLOUR = (0, 255), (128, 255)


@pytest.mark.parametrize(
    ("pixels", "tags", "named"),
    [
        (GREY, {532: ratios(4096, 65535)}, "ReferenceBlackWhite says that values have other ends than 0 and 65535"),
        (
            COLOURS,
            {**THREE, 532: ratios(*FULL, *FULL, 16, 235)},
            "ReferenceBlackWhite says that values have other ends",
        ),
        (COLOURS, {**THREE, 262: (3, 6), 532: ratios(15, 235, 128, 240, 128, 240)}, "ReferenceBlackWhite"),
        (np.full((1, 2, 4), 9, np.uint8), {**FOUR, 336: shorts(255, 0)}, "DotRange says that values have other ends"),
        (np.full((1, 2, 4), 9, np.uint8), {**FOUR, 336: shorts(*FULL * 3, 0, 200)}, "DotRange"),
    ],
)
def test_other_ends_of_what_a_value_can_be_are_refused(
    tmp_path: Path, pixels: np.ndarray, tags: dict[int, Any], named: str
) -> None:
    for read in (open_picture, lambda file: open_mask(file, None)):
        with pytest.raises(UserError, match=f"its tag {named}"):
            read(tiff(tmp_path / "a.tif", pixels, tags))


@pytest.mark.parametrize(
    ("pixels", "tags", "expected"),
    [
        (GREY, {532: ratios(0, 65535)}, [[0] * 3, [10] * 3, [255] * 3, [0] * 3]),
        (COLOURS, {**THREE, 532: ratios(*FULL * 3)}, COLOURS[0].tolist()),
        (GREYS, {**THREE, 262: (3, 6), 530: shorts(1, 1), 532: ratios(*FULL, *NO_COLOUR * 2)}, [[9] * 3, [200] * 3]),
        (np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8), {**FOUR, 336: shorts(*FULL)}, [[255] * 3, [0] * 3]),
    ],
)
def test_the_usual_ends_are_read(tmp_path: Path, pixels: np.ndarray, tags: dict[int, Any], expected: Any) -> None:
    assert np.asarray(open_picture(tiff(tmp_path / "a.tif", pixels, tags)))[0].tolist() == expected


def test_white_may_be_zero_in_8_and_in_16_bits(tmp_path: Path) -> None:
    assert grey(tiff(tmp_path / "16.tif", GREY, {262: (3, 0)})) == [255, 245, 0, 255]
    assert grey(tiff(tmp_path / "8.tif", (GREY >> 8).astype(np.uint8), {262: (3, 0)})) == [255, 245, 0, 255]
    assert open_mask(tmp_path / "16.tif", None).marks.tolist() == [[1, 1, 0, 1]]


def test_12_bits_are_scaled_and_32_refused(tmp_path: Path) -> None:
    packed = np.frombuffer(bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10]), np.uint8)
    assert grey(tiff(tmp_path / "12.tif", packed[None], {256: (4, 4), 258: (3, 12)})) == [0, 255, 128, 1]
    wide = tiff(tmp_path / "32.tif", GREY.astype(np.uint32))
    with pytest.raises(UserError, match="its pixels are 32-bit numbers, which have no agreed scale"):
        open_picture(wide)
    assert open_mask(wide, None).marks.tolist() == [[0, 1, 1, 0]], "of a mask it does not matter"


def test_a_palette_of_8_bits_would_be_black_and_is_refused(tmp_path: Path) -> None:
    colours, entries = np.zeros((3, 256), np.uint16), np.array([[0, 1, 1, 0]], np.uint8)
    colours[:, 1] = 200
    assert grey(tiff(tmp_path / "16.tif", entries, {262: (3, 3), 320: (3, (colours * 257).tobytes())})) == [
        0,
        200,
        200,
        0,
    ]
    with pytest.raises(UserError, match="its tag ColorMap has colours of 8 bits"):
        open_picture(tiff(tmp_path / "8.tif", entries, {262: (3, 3), 320: (3, colours.tobytes())}))


def test_a_long_table_of_strips_that_agrees_with_the_size_is_refused_at_once(tmp_path: Path) -> None:
    rows = 10**6
    strips = struct.pack(f"<{rows}I", *[8] * rows)
    path = tiff(tmp_path / "a.tif", np.zeros((1, 8), np.uint8), {257: (4, rows), 273: (4, strips), 278: (4, 1)})
    began = time.monotonic()
    with pytest.raises(UserError, match="its tag 273 has more than 100,000 values"):
        open_picture(path)
    assert pages_of(path, path.read_bytes()) == [path] and time.monotonic() - began < 1


def test_thumbnails_are_no_pictures(tmp_path: Path) -> None:
    small = tiff(tmp_path / "small.tif", np.full((5, 5), 9, np.uint8), {254: (4, 1)}).read_bytes()
    large = tiff(tmp_path / "large.tif", np.full((20, 20), 200, np.uint8), start=len(small)).read_bytes()
    (directory,) = struct.unpack_from("<I", large, 4)
    at = struct.unpack_from("<I", small, 4)[0]
    end = at + 2 + 12 * struct.unpack_from("<H", small, at)[0]
    both = tmp_path / "both.tif"
    both.write_bytes(small[:end] + struct.pack("<I", directory) + small[end + 4 :] + large[8:])
    assert page_places(both.read_bytes()) == [1] and pages_of(both, both.read_bytes()) == [both]
    assert open_picture(both).size == (20, 20)


def test_a_chain_of_directories_without_end_is_left(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("L", (9, 9)).save(path, save_all=True, append_images=[Image.new("L", (9, 9))] * 2)
    assert page_places(path.read_bytes()) == [0, 1, 2]
    content = bytearray(path.read_bytes())
    (at,) = struct.unpack_from("<I", content, 4)
    struct.pack_into("<I", content, at + 2 + 12 * struct.unpack_from("<H", content, at)[0], at)
    assert page_places(bytes(content)) == [0], "one that leads to itself"
    empty = b"".join(struct.pack("<HI", 0, 8 + 6 * number) for number in range(1, 2 * MOST_PAGES + 2))
    with pytest.raises(ValueError, match="more than 1,000 pictures"):
        page_places(b"II*\0" + struct.pack("<I", 8) + empty)
