"""Image files of any content: a picture within the bounds, or one plain error that names the file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aaclip_kit import UserError
from aaclip_kit.data.decode import MOST_PIXELS, open_mask, open_picture

from .cases import damaged, fuzzed, result_of

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")  # as they are outside of tests


def encoded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(out, kind, **options)
    return out.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


WHOLES = [
    encoded("PNG"),
    encoded("PNG", "P"),
    encoded("PNG", "1"),
    encoded("JPEG", exif=turned()),
    encoded("JPEG", "CMYK", progressive=True),
    encoded("BMP"),
    encoded("TIFF", compression="tiff_lzw", exif=turned()),
    encoded("TIFF", "CMYK"),
    encoded("TIFF", "1", compression="group4"),
    encoded("WEBP", lossless=True),
    encoded("GIF"),
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
]


def outcome(content: bytes) -> None:
    path = Path("picture.png")
    for reader in (open_picture, lambda file, data: open_mask(file, None, data)):
        found = result_of(reader, path, content)
        if isinstance(found, UserError):
            assert found.where == str(path)
        else:
            assert found.width * found.height <= MOST_PIXELS


@given(damaged(WHOLES))
@fuzzed(2.0)
def test_damaged_images(content: bytes) -> None:
    outcome(content)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


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
    extra = b"".join(chunk(kind, data) for kind, data in chunks)
    body = chunk(b"IDAT", zlib.compress(pixels) if packed else pixels)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header))
    outcome(start + extra + body + chunk(b"IEND", b""))
