"""Image files of any content: a picture within the bounds, or one plain error that names the file."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.data.decode import open_mask, open_picture
from aaclip_kit.data.image_file import MOST_PIXELS

from ..pictures import chunk, encoded, noise, png
from .cases import damaged, fuzzed, result_of

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # as they are outside of tests


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


NOISE = noise(12, 14)
WHOLES = [
    encoded(NOISE, "PNG"),
    encoded(NOISE, "PNG", "P"),
    encoded(NOISE, "PNG", "1"),
    encoded(NOISE, "JPEG", exif=turned()),
    encoded(NOISE, "JPEG", "CMYK", progressive=True),
    encoded(NOISE, "BMP"),
    encoded(NOISE, "TIFF", compression="tiff_lzw", exif=turned()),
    encoded(NOISE, "TIFF", "CMYK"),
    encoded(NOISE, "TIFF", "1", compression="group4"),
    encoded(NOISE, "WEBP", lossless=True),
    encoded(NOISE, "GIF"),
    encoded(NOISE, "PPM"),
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
]


def outcome(content: bytes) -> None:
    path = Path("picture.png")
    for reader in (open_picture, lambda file, data: open_mask(file, None, data)):
        found = result_of(reader, path, content)
        if isinstance(found, UserError):
            assert found.where == str(path)
        else:
            width, height = found.size if isinstance(found, Image.Image) else found.marks.shape
            assert width * height <= MOST_PIXELS


REFUSED = WHOLES[-1:]
"""A program in PostScript."""


@pytest.mark.parametrize("content", [whole for whole in WHOLES if whole not in REFUSED])
def test_what_is_whole_is_read(content: bytes) -> None:
    assert sorted(open_picture(Path("picture.png"), content).size) == [12, 14]


@given(damaged(WHOLES))
@fuzzed(2.0)
def test_damaged_images(content: bytes) -> None:
    outcome(content)


SIDES = st.sampled_from([0, 1, 7, 8, 64, 65_535, 10_000, 2**31 - 1, 2**32 - 1])
KINDS = st.sampled_from(
    [b"PLTE", b"tRNS", b"gAMA", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"IDAT"]
)
HEADER = st.tuples(SIDES, SIDES, st.sampled_from([1, 2, 4, 8, 16, 3]), st.integers(0, 7), *[st.integers(0, 2)] * 3)


@given(HEADER, st.lists(st.tuples(KINDS, st.binary(max_size=64)), max_size=4), st.binary(max_size=200), st.booleans())
@fuzzed()
def test_pngs_that_say_anything(
    header: tuple[int, ...], chunks: list[tuple[bytes, bytes]], pixels: bytes, packed: bool
) -> None:
    body = zlib.compress(pixels) if packed else pixels
    outcome(png(header, body, *(chunk(kind, data) for kind, data in chunks)))
