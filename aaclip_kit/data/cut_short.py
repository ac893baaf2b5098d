"""Files that end before their picture does, though their end is marked: Pillow fills what lacks without a word."""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from .tiff_tags import lacks_parts

_FRAMES: Final = (0xC0, 0xC1, 0xC2)
"""Markers of a JPEG's frame whose scans are in Huffman codes; arithmetic ones may leave out their end."""

_PROGRESSIVE, _SCAN, _END = 0xC2, 0xDA, 0xD9

_AFTER_CODES: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""A marker that ends a scan's codes."""

_RESTARTS: Final = (b"", *(bytes([0xFF, 0xD0 + number]) for number in range(8)))
_MORE: Final = b"".join(restart + bytes(range(254, -1, -1)) for restart in _RESTARTS)
"""Bits of all sorts. A decoder that lacks some takes them for coefficients; one that lacks none passes them over."""

_FILLED: Final = 128
"""What libjpeg fills a picture with."""

_SMALL: Final = 1 << 16
"""Pixels up to which a picture is decoded twice in any case: its last block is a part that counts."""

_CHANNELS: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Values of a pixel by a PNG's kind of colour."""


def check_not_cut(picture: ImageFile, content: bytes) -> None:
    """Raise ValueError where a JPEG, PNG or TIFF, which has been decoded, holds less than its whole picture.

    A large JPEG's very last block is not looked at, nor are PNGs that are interlaced or animated.
    """
    if picture.format in ("JPEG", "MPO"):
        is_cut = _is_cut_jpeg(picture, content[getattr(picture, "offset", 0) :])
    elif isinstance(picture, TiffImageFile):
        is_cut = lacks_parts(picture.tag_v2)
    else:
        is_cut = picture.format == "PNG" and _is_cut_png(picture, content)
    if is_cut:
        raise ValueError("its data end before the picture does, though the file has an end")


def _is_cut_jpeg(picture: ImageFile, content: bytes) -> bool:
    coding = _coding(content)
    if coding is None or not coding.is_whole:
        return coding is not None
    last = np.asarray(picture.getpixel((picture.width - 1, picture.height - 1)))
    is_small = picture.width * picture.height <= _SMALL
    # A progressive one is not filled: it keeps the coarser values of its earlier scans.
    if not (is_small or coding.is_progressive or picture.mode == "CMYK" or (last == _FILLED).all()):
        return False
    with JpegImageFile(BytesIO(content[: coding.end].rstrip(b"\xff") + _MORE + content[coding.end :])) as other:
        other.load()
        return not np.array_equal(np.asarray(picture), np.asarray(other))


@dataclass(frozen=True)
class _Coding:
    """How a JPEG's picture is coded, and the place of the marker behind its last scan."""

    end: int
    is_progressive: bool
    is_whole: bool
    """Whether there is a scan for the last bit of each coefficient."""


def _coding(content: bytes) -> _Coding | None:
    """None for a JPEG whose markers lead to no end, or whose codes are of another kind."""
    is_progressive, lacking = False, dict[int, set[int]]()
    for marker, body, at in _segments(content):
        if marker in _FRAMES:
            is_progressive = marker == _PROGRESSIVE
            lacking = {component: set(range(64)) for component in body[6::3]}
        elif marker == _SCAN and lacking:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            for component in body[1 : 1 + 2 * count : 2] if bits & 15 == 0 else b"":
                lacking[component] -= set(range(first, last + 1))
        elif marker == _END and lacking:
            return _Coding(at, is_progressive, not any(lacking.values()))
    return None


def _segments(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Marker, body and place of each segment of a JPEG up to its end."""
    at = 2
    while at + 1 < len(content) and content[at] == 0xFF:
        marker, body = content[at + 1], content[at + 4 : at + 2 + int.from_bytes(content[at + 2 : at + 4])]
        if marker == 0xFF:  # filling
            at += 1
            continue
        yield marker, body, at
        if marker == _END:
            return
        at += 4 + len(body)
        if marker == _SCAN:
            after = _AFTER_CODES.search(content, at)
            at = after.start() if after else len(content)


def _is_cut_png(picture: ImageFile, content: bytes) -> bool:
    width, height, depth, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    last = picture.crop((0, height - 1, width, height))
    if interlaced or getattr(picture, "n_frames", 1) > 1 or np.asarray(last).any():
        return False
    lacking = height * (1 + -(-width * depth * _CHANNELS[kind] // 8))
    unpacking = zlib.decompressobj()
    for part in _packed(content):
        while part and lacking > 0:
            lacking -= len(unpacking.decompress(part, 1 << 20))
            part = unpacking.unconsumed_tail
    return lacking > 0


def _packed(content: bytes) -> Iterator[bytes]:
    """The bodies of a PNG's data chunks."""
    at = 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"IDAT":
            yield content[at + 8 : at + 8 + length]
        at += 12 + length
