"""An image's file: its bytes, the formats that are read, and the pictures in it."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Final

from PIL import ExifTags, Image, ImageFile, PngImagePlugin, UnidentifiedImageError
from PIL.MpoImagePlugin import MpoImageFile

from ..files.plain_file import read_plain
from .tiff_tags import MOST_PAGES, page_places

MOST_PIXELS = 100_000_000
"""Pixels of the largest image that is decoded. The size in a file's header decides, before anything is unpacked."""

MOST_BYTES: Final = 1 << 30
"""Size of the largest file that is read: `MOST_PIXELS` without compression, in 16 bits and four channels, fit."""

MOST_TEXT: Final = 16 << 20
"""Bytes of a PNG's colour profile, and of each of its texts, unpacked."""

_MP_ENTRY: Final = 0xB002
"""The table of a JPEG's pictures."""

FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
"""Formats that are decoded, whatever a file's name. Among Pillow's others is one that starts a program."""

_BEGINNINGS: Final = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8")


class _Decoding:
    """Bounds the images of Pillow by `MOST_PIXELS` and silences it while a thread decodes, for all of them at once."""

    def __init__(self) -> None:
        self._lock, self._threads, self._before = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._before.enter_context(warnings.catch_warnings())
                # What Pillow warns of in a damaged file, it raises as well or can do without.
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._before.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = MOST_PIXELS
                self._before.callback(setattr, PngImagePlugin, "MAX_TEXT_CHUNK", PngImagePlugin.MAX_TEXT_CHUNK)
                PngImagePlugin.MAX_TEXT_CHUNK = MOST_TEXT
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._before.close()


DECODING: Final = _Decoding()
"""Entered by whoever opens an image with Pillow."""


def read_content(path: Path) -> bytes:
    """What an image's file holds. Raises `UserError` for one that is missing, too large, or no plain file."""
    return read_plain(page_of(path)[0], most=MOST_BYTES, fix="restore it or take it out of the data set")


def checksum(path: Path, content: bytes) -> str:
    """SHA-256 of an image's file, and of the page's number where the path names one."""
    page = page_of(path)[1]
    return hashlib.sha256(content + (b"" if page is None else b"#%d" % page)).hexdigest()


def orientation(content: bytes) -> int:
    """The EXIF orientation of a file that can be read: 1 is upright, from 5 on width and height change places."""
    with DECODING, opened(content) as picture:
        turned = picture.getexif().get(ExifTags.Base.Orientation, 1)
        return int(turned) if turned in range(1, 9) else 1


def page_of(path: Path) -> tuple[Path, int | None]:
    """The file of a page that is named as in `scan.tif#2`, and its number; other paths are files, and have none."""
    name, _, number = path.name.rpartition("#")
    if not (name and number.isdecimal() and number[0] != "0") or os.path.exists(path):  # noqa: PTH110 - no where it may not look
        return path, None
    return path.with_name(name), int(number)


def pages_of(path: Path, content: bytes) -> list[Path]:
    """A path for each picture in a file: `scan.tif#1` and so on, or the file's own where it holds one or no picture."""
    try:
        with DECODING, opened(content) as picture:
            count = 1 if page_of(path)[1] else len(pages_in(picture, content))
    except Exception:  # reading it says what is the matter
        return [path]
    return [path.with_name(f"{path.name}#{number}") for number in range(1, count + 1)] if count > 1 else [path]


def opened(content: bytes) -> ImageFile.ImageFile:
    """A file's image, not yet decoded. Raises what Pillow does, and ValueError for what would take it long."""
    if content[:2] in (b"II", b"MM"):
        page_places(content)
    try:
        return Image.open(BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        if content.startswith(_BEGINNINGS):
            raise ValueError("its head is damaged, or its pixels are numbers of a kind that is not read") from None
        raise


def pages_in(picture: ImageFile.ImageFile, content: bytes) -> list[int]:
    """Places of the pictures among a file's frames; thumbnails and what else belongs to one picture do not count.

    Raises ValueError for too many.
    """
    # Pillow goes through a GIF frame by frame, each of which begins so; in packed pixels that is one of 65,536 pairs.
    too_many = picture.format == "GIF" and content.count(b"\0,") > MOST_PAGES + len(content) // 1000
    frames = (
        page_places(content) if picture.format == "TIFF" else range(0 if too_many else getattr(picture, "n_frames", 1))
    )
    if too_many or len(frames) > MOST_PAGES:
        raise ValueError(f"it holds more than {MOST_PAGES:,} pictures")
    if isinstance(picture, MpoImageFile):
        return _pages_of_mpo(picture)
    return list(frames) if picture.format in ("TIFF", "GIF", "WEBP", "PNG") else [0]


def _pages_of_mpo(picture: MpoImageFile) -> list[int]:
    """Places of the views of a JPEG of several pictures; what is smaller, or said to be, is a preview or a map."""
    size, pages, entries = picture.size, [0], (picture.mpinfo or {})[_MP_ENTRY]
    for number in _behind_first(picture):
        kind = entries[number]["Attribute"]["MPType"]
        if kind.startswith("Multi-Frame") or (picture.size == size and not kind.startswith("Large Thumbnail")):
            pages.append(number)
    picture.seek(0)
    return pages


def _behind_first(picture: MpoImageFile) -> Iterator[int]:
    """Places of the further pictures that are there, each sought."""
    for number in range(1, picture.n_frames):
        # A program that knew of the first alone may have left out the others, and not their table.
        with suppress(ValueError, SyntaxError, OSError):
            picture.seek(number)
            yield number


def passed_over_in(content: bytes) -> int:
    """How many previews, and maps of gain or depth, an image's file holds that nobody looks at."""
    if content[:2] != b"\xff\xd8":
        return 0
    with DECODING, opened(content) as picture:
        pages = len(pages_in(picture, content))
        return 1 + len(list(_behind_first(picture))) - pages if isinstance(picture, MpoImageFile) else 0
