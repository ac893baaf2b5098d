"""What a TIFF says of itself and Pillow passes over: which of its directories are pictures, and what a grey means."""

import re
import struct
from collections.abc import Mapping
from typing import Any, Final

MOST_PAGES: Final = 1000
"""Pictures in one file."""

MOST_VALUES: Final = 100_000
"""Values of a tag, such as the places of strips or tiles; Pillow takes some ten microseconds for each of these."""

_BYTES: Final = (1, 2, 6, 7)
"""Types of tags that are taken whole, however long."""

_SUBFILE: Final = 254
_NO_PAGE: Final = 1 | 4
"""Bits that tell a smaller copy, and a mask of transparency."""

_BITS, _PHOTOMETRIC, _COLOURS = 258, 262, 320
_WIDTH, _HEIGHT, _STRIPS, _STRIP_ROWS = 256, 257, 273, 278
_TILES, _TILE_WIDTH, _TILE_HEIGHT = 324, 322, 323
_SAMPLES, _PLANES, _APART = 277, 284, 2
_WHITE_IS_ZERO, _PALETTE, _YCBCR = 0, 3, 6


def page_places(content: bytes) -> list[int]:
    """Places of the pictures among a TIFF's directories: thumbnails and masks of transparency are none.

    Raises ValueError where Pillow would take long: for too many directories, or a tag of too many values.
    """
    order = "<" if content[:2] == b"II" else ">"
    is_big = content[2:4] in (b"+\0", b"\0+")
    pointer, number, entry = (f"{order}{kind}" for kind in (("Q", "Q", "HHQQ") if is_big else ("I", "H", "HHII")))
    pages: list[int] = []
    seen: set[int] = set()
    try:
        (at,) = struct.unpack_from(pointer, content, 8 if is_big else 4)
        while at and at not in seen:
            seen.add(at)
            (entries,) = struct.unpack_from(number, content, at)
            if len(seen) > 2 * MOST_PAGES or entries > MOST_VALUES:
                raise ValueError(f"it holds more than {MOST_PAGES:,} pictures")
            at += struct.calcsize(number)
            end = at + entries * struct.calcsize(entry)
            kind = 0
            for tag, form, count, value in struct.iter_unpack(entry, content[at:end]):
                if count > MOST_VALUES and form not in _BYTES:
                    raise ValueError(f"its tag {tag} has more than {MOST_VALUES:,} values")
                kind = value if tag == _SUBFILE else kind
            if not kind & _NO_PAGE:
                pages.append(len(seen) - 1)
            (at,) = struct.unpack_from(pointer, content, end)
    except struct.error:  # Pillow says what is the matter
        pass
    return pages or [0]


_NO_FULL_SCALE: Final = r"(511|1023|2047|4095|8191|16383|32767)(\.0)?$"

_FEWER_BITS: Final = r"([1-79]|1[0-5])\b"
"""Other bits than 8 and 16."""

_OTHER_MEANING: Final[dict[int, tuple[str, str]]] = {
    339: ("SampleFormat", r"(?![134]$)"),
    _PHOTOMETRIC: ("PhotometricInterpretation", r"(?![0123568]$)"),
    270: ("ImageDescription", rf"(?s)ImageJ=.*\nc[01]=|.*SignificantBits\s*=\s*[\"']{_FEWER_BITS}"),
    281: ("MaxSampleValue", _NO_FULL_SCALE),
    341: ("SMaxSampleValue", _NO_FULL_SCALE),
    291: ("GrayResponseCurve", ""),
    301: ("TransferFunction", ""),
    332: ("InkSet", "2$"),
    42112: ("GDAL_METADATA", r"(?s).*role\s*=\s*[\"'](offset|scale)"),
    42113: ("GDAL_NODATA", ""),
    51123: ("MicroManagerMetadata", rf'(?s).*"BitDepth"\s*:\s*"?{_FEWER_BITS}'),
    50712: ("LinearizationTable", ""),
    50714: ("BlackLevel", ""),
    50717: ("WhiteLevel", ""),
}
"""Tags by which a grey value is something else than a share of white, where what they hold begins so."""


_RANGES: Final = {532: "ReferenceBlackWhite", 336: "DotRange"}
"""Tags that say which values are black and white, or no ink and all of it: pairs, mostly one for each channel."""


def other_meaning(tags: Mapping[int, Any]) -> str | None:
    """What in a TIFF's tags gives its values a meaning that is not read, as a sentence; None for nothing.

    Floating-point numbers are not told of: of a mask they can be read.
    """
    for tag, (name, begins) in _OTHER_MEANING.items():
        held = tags.get(tag, ())
        for value in held if isinstance(held, tuple) else (held,):
            if re.match(begins, text := str(value)):
                shown = f" {text}" if len(text) < 20 else ""
                return f"its tag {name}{shown} gives grey values a meaning that is not read"
    most = 2 ** grey_bits(tags) - 1
    # Of differences of colours none is in the middle.
    least = (0, (most + 1) // 2) if tags.get(_PHOTOMETRIC) == _YCBCR else (0,)
    for tag, name in _RANGES.items():
        ends = tuple(tags.get(tag, ()))
        if any(value not in least for value in ends[::2]) or any(value != most for value in ends[1::2]):
            return f"its tag {name} says that values have other ends than 0 and {most}, which is not read"
    if tags.get(_PHOTOMETRIC) == _PALETTE and 0 < max(tags.get(_COLOURS, (0,))) < 256:
        return "its tag ColorMap has colours of 8 bits, where a TIFF has 16"
    return None


def lacks_parts(tags: Mapping[int, Any]) -> bool:
    """Whether a strip or tile has no place in the file, as where programs leave out those of one value."""
    width, height = tags[_WIDTH], tags[_HEIGHT]
    if _TILES in tags:
        places, parts = tags[_TILES], -(-width // tags[_TILE_WIDTH]) * -(-height // tags[_TILE_HEIGHT])
    else:
        places, parts = tags.get(_STRIPS, ()), -(-height // (tags.get(_STRIP_ROWS) or height))
    planes = tags.get(_SAMPLES, 1) if tags.get(_PLANES) == _APART else 1
    return bool(places) and (len(places) < parts * planes or 0 in places)


def grey_bits(tags: Mapping[int, Any]) -> int:
    """Bits of a grey value, which a TIFF of 12 has in 16; 16 for what is no TIFF."""
    return int(max(tags.get(_BITS, (16,))))


def is_white_zero(tags: Mapping[int, Any]) -> bool:
    """Whether 0 stands for white."""
    return bool(tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
