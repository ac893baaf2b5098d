"""Decoding images and masks. Every fault of a file is one `UserError` that names it."""

import hashlib
import os
import warnings
from collections import OrderedDict
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Int8, UInt8
from PIL import ExifTags, Image, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError
from torch.utils.data import get_worker_info

from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..files.plain_file import read_plain
from .tiff_tags import MOST_PAGES, grey_bits, is_white_zero, other_meaning, page_places

MOST_PIXELS = 100_000_000
"""Pixels of the largest image that is decoded. The size in a file's header decides, before anything is unpacked."""

MOST_BYTES: Final = 1 << 30
"""Size of the largest file that is read: `MOST_PIXELS` without compression, in 16 bits and four channels, fit."""

MOST_TEXT: Final = 16 << 20
"""Bytes of a PNG's colour profile, and of each of its texts, unpacked."""

FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
"""Formats that are decoded, whatever a file's name. Among Pillow's others is one that starts a program."""

Picture = UInt8[np.ndarray, "S S 3"]
Mask = Int8[np.ndarray, "S S"]
"""1 where anomalous, 0 where normal, `IGNORED` where metrics and losses leave the pixel out."""
IGNORED: Final = -1
Pair = tuple[Picture, Mask]
"""An image before normalisation, and its mask: all 0 without a file. They are shared, and not to be changed."""


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


_DECODING: Final = _Decoding()


def open_picture(path: Path, content: bytes | None = None) -> Image.Image:
    """An image in RGB, upright (EXIF orientation applied). 16-bit grey is scaled to 8 bits; alpha is dropped.

    `content` is what the file holds, where it has been read already. Raises `UserError` for a file that is missing,
    damaged, no image, of several pages where `path` names none, of numbers without an agreed scale, or of more than
    `MOST_PIXELS` pixels.
    """
    try:
        with _DECODING:
            upright, bits = _upright(path, content)
            if upright.mode.startswith("I;16") or (upright.mode == "I" and bits <= 16):
                upright = Image.fromarray((np.asarray(upright) >> (bits - 8)).astype(np.uint8))
            if upright.mode in ("I", "F"):
                kind = "32-bit" if upright.mode == "I" else "floating-point"
                raise ValueError(f"its pixels are {kind} numbers, which have no agreed scale")
            return upright.convert("RGB")
    # A decoder may raise anything: Pillow's raise TypeError or struct.error over a damaged EXIF block.
    except Exception as error:
        raise _unreadable(path, error) from None


Values = tuple[tuple[int | float, int], ...]
"""Values, or entries of a palette, that count as anomalous, each with its number of pixels, most frequent first."""

FIRST_COLOUR: Final = 1 << 16
"""From here on, a mask's value is a colour."""


class MaskFile(NamedTuple):
    """What a mask says of each pixel at the file's own size, upright, and what there is to be remarked about it."""

    marks: Int8[np.ndarray, "H W"]
    is_lossy: bool
    """Whether it is compressed as a JPEG is: its edges are then taken at half of its largest value."""
    values: Values = ()
    """Empty where not asked for."""


def open_mask(
    path: Path,
    size: tuple[int, int] | None,
    content: bytes | None = None,
    *,
    ignore: int | None = None,
    with_values: bool = False,
) -> MaskFile:
    """A mask of `size` (width, height), or any, upright: anomalous is what is neither black nor of value `ignore`.

    Alpha does not count. Raises `UserError` as `open_picture` does, for a mask of another size, and for one that is
    drawn in its alpha channel alone.
    """
    try:
        content = read_content(path) if content is None else content
        with _DECODING:
            upright, _ = _upright(path, content)
            is_lossy = _is_lossy(upright, content)
            values = _from_black(upright)
            if not np.isfinite(values).all():
                raise ValueError("some of its values are no finite numbers")
            kinds = _kinds(upright, values) if with_values or ignore is not None else None
    except Exception as error:
        raise _unreadable(path, error) from None
    if size is not None:
        check_mask_size(path, (values.shape[1], values.shape[0]), size)
    if is_lossy and ignore is not None:
        fix = "save it as PNG, which keeps values as they are"
        raise UserError(f"is a JPEG, in which no value is exactly {ignore}", where=str(path), fix=fix)
    # What a JPEG of a black mask has beside black is noise.
    marks = (values > max(values.max() / 2, 16) if is_lossy else values != 0).astype(np.int8)
    if ignore is not None:
        marks[kinds == ignore] = IGNORED
    if kinds is None or is_lossy:
        return MaskFile(marks, is_lossy)
    found, counts = np.unique(kinds[marks > 0], return_counts=True)
    pairs = zip(found.tolist(), counts.tolist(), strict=True)
    return MaskFile(marks, is_lossy, tuple(sorted(pairs, key=lambda pair: -pair[1])))


def _is_lossy(upright: Image.Image, content: bytes) -> bool:
    lossy_webp = content[8:12] == b"WEBP" and b"VP8L" not in content
    return lossy_webp or content[:2] == b"\xff\xd8" or upright.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")


def _from_black(upright: Image.Image) -> np.ndarray:
    """A mask's largest channel."""
    # A palette's numbers say nothing: its first colour may be white. Nor do those of CMYK: 0 is white.
    plain = upright.mode in ("1", "L", "RGB", "RGBA", "F") or upright.mode.startswith("I")
    values = np.asarray(upright if plain else upright.convert("RGB"))
    if upright.mode in ("RGBA", "LA", "PA") and (values[..., :3] == values[0, 0, :3]).all():
        least, most = upright.getchannel("A").getextrema()
        if least != most:
            raise ValueError("it is of one colour, and its shape is in the alpha channel, which does not count")
    if values.ndim == 2:
        return values
    red, green, blue = (values[..., channel] for channel in range(3))
    return np.maximum(np.maximum(red, green), blue)


def _kinds(upright: Image.Image, values: np.ndarray) -> np.ndarray:
    """The number that stands for each pixel in a mask: a palette's entry, a grey, or `FIRST_COLOUR` and a colour's."""
    if upright.mode in ("P", "PA"):
        return np.asarray(upright.getchannel("P") if upright.mode == "PA" else upright)
    if upright.mode in ("1", "L", "F") or upright.mode.startswith("I"):
        return values
    red, green, blue = (np.asarray(band) for band in upright.convert("RGB").split())
    grey = (red == green) & (green == blue)
    if grey.all():
        return values
    return np.where(grey, red, (red.astype(np.int64) << 16 | green.astype(np.int64) << 8 | blue) + FIRST_COLOUR)


def orientation(content: bytes) -> int:
    """The EXIF orientation of a file that can be read: 1 is upright, from 5 on width and height change places."""
    with _DECODING, _opened(content) as picture:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))


def page_of(path: Path) -> tuple[Path, int | None]:
    """The file of a page that is named as in `scan.tif#2`, and its number; other paths are files, and have none."""
    name, _, number = path.name.rpartition("#")
    if not (name and number.isdecimal() and number[0] != "0") or os.path.exists(path):  # noqa: PTH110 - no where it may not look
        return path, None
    return path.with_name(name), int(number)


def pages_of(path: Path) -> list[Path]:
    """A path for each picture in a file: `scan.tif#1` and so on, or the file's own where it holds one or no picture."""
    try:
        content = read_content(path)
        with _DECODING, _opened(content) as picture:
            count = 1 if page_of(path)[1] else len(_pages(picture, content))
    except Exception:  # reading it says what is the matter
        return [path]
    return [path.with_name(f"{path.name}#{number}") for number in range(1, count + 1)] if count > 1 else [path]


def _opened(content: bytes) -> ImageFile.ImageFile:
    if content[:2] in (b"II", b"MM"):
        page_places(content)
    return Image.open(BytesIO(content), formats=FORMATS)


def _pages(picture: ImageFile.ImageFile, content: bytes) -> list[int]:
    """Places of the pictures among a file's frames; thumbnails and other views of one picture do not count."""
    # Pillow goes through a GIF frame by frame, each of which begins so; in packed pixels that is one of 65,536 pairs.
    too_many = picture.format == "GIF" and content.count(b"\0,") > MOST_PAGES + len(content) // 1000
    frames = (
        page_places(content) if picture.format == "TIFF" else range(0 if too_many else getattr(picture, "n_frames", 1))
    )
    if too_many or len(frames) > MOST_PAGES:
        raise ValueError(f"it holds more than {MOST_PAGES:,} pictures")
    return list(frames) if picture.format in ("TIFF", "GIF", "WEBP", "PNG") else [0]


def _upright(path: Path, content: bytes | None) -> tuple[Image.Image, int]:
    """A file's picture, or the page that the path names, and its bits of grey; 0 is black."""
    page = page_of(path)[1]
    content = read_content(path) if content is None else content
    with _opened(content) as picture:
        pages = _pages(picture, content)
        if page is None and len(pages) > 1:
            fix = "save each as a file of its own, or name one, as in FILE#2, for `aakit predict`"
            raise UserError(f"holds {len(pages)} pictures where one is wanted", where=str(path), fix=fix)
        if page is not None and page > len(pages):
            raise ValueError(f"it holds {len(pages)} pictures")
        if frame := pages[(page or 1) - 1]:
            picture.seek(frame)
        # Pillow only warns of an image between this bound and twice as much.
        if picture.width * picture.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        # Each is decoded, also those that lie outside of the image, or above one another.
        boxes = (tile.extents or (0, 0, 0, 0) for tile in picture.tile)
        if sum((right - left) * (low - top) for left, top, right, low in boxes) > 8 * picture.width * picture.height:
            raise ValueError("its table of tiles has more entries than the image has room for")
        tags = getattr(picture, "tag_v2", {})
        if problem := other_meaning(tags):
            fix = "save it in 8 or 16 bits without a sign, from black to white, and without the tag"
            raise UserError(f"cannot be read as an image: {problem}", where=str(path), fix=fix)
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        # Converting would blend it in or warn of it, and alpha is dropped.
        upright.info.pop("transparency", None)
        if picture.mode == "I;16" and is_white_zero(tags):  # Pillow turns all others round
            upright = Image.fromarray(65535 - np.asarray(upright))
        return upright, grey_bits(tags)


def read_content(path: Path) -> bytes:
    """What an image's file holds. Raises `UserError` for one that is missing, too large, or no plain file."""
    return read_plain(page_of(path)[0], most=MOST_BYTES, fix="restore it or take it out of the data set")


def check_mask_size(path: Path, mask: tuple[int, int], image: tuple[int, int]) -> None:
    """Raise `UserError` where a mask's (width, height) is not its image's."""
    if mask != image:
        problem = f"the mask is {mask[0]} x {mask[1]} pixels, its image {image[0]} x {image[1]}"
        fix = "make the mask as large as its image"
        if mask == image[::-1]:
            fix = "turn the mask as its image is turned, by its EXIF tag if it has one"
        raise UserError(problem, where=str(path), fix=fix)


def resized(picture: Image.Image, size: int) -> Image.Image:
    """Bicubic to `size` x `size`, without a crop."""
    return picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BICUBIC)


def read_picture(sample: Sample) -> Image.Image:
    """A sample's image, as `open_picture` has it. Raises `UserError` too where it is no longer what was scanned."""
    return open_picture(sample.image, _checked(sample.image, sample.checksums[:1])[0])


def read_mask(sample: Sample, image_size: tuple[int, int] | None, size: int) -> Mask:
    """A sample's mask resized with nearest neighbours; all 0 without a file, whose own size goes unseen without one."""
    return _mask(sample, _checked_mask(sample)[0], image_size, size)


def _mask(sample: Sample, content: bytes, image_size: tuple[int, int] | None, size: int) -> Mask:
    if sample.mask is None:
        return np.zeros((size, size), np.int8)
    marks = Image.fromarray(open_mask(sample.mask, image_size, content, ignore=sample.ignore).marks.view(np.uint8))
    return np.array(marks.resize((size, size), Image.Resampling.NEAREST)).view(np.int8)


def _checked_mask(sample: Sample) -> tuple[bytes, str]:
    return (b"", "") if sample.mask is None else _checked(sample.mask, sample.checksums[1:])


def _checked(path: Path, checksum: tuple[str, ...]) -> tuple[bytes, str]:
    """What a file holds, and its checksum. Raises `UserError` where that is not the one it had."""
    content = read_content(path)
    found = hashlib.sha256(content).hexdigest()
    if checksum and checksum != (found,):
        fix = "begin again, and leave the files as they are until the end"
        raise UserError("has been changed since the data were looked through", where=str(path), fix=fix)
    return content, found


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        problem = f"is too large: it has more than {MOST_PIXELS:,} pixels"
        return UserError(problem, where=str(path), fix="scale it down, or cut it into tiles")
    if "MAX_TEXT" in str(error):
        problem = f"cannot be read as an image: a text or colour profile in it has more than {MOST_TEXT:,} bytes"
        return UserError(problem, where=str(path), fix="save it without its texts and colour profile")
    if isinstance(error, UnidentifiedImageError):  # Pillow's own words name the file again
        problem = "what it holds is no image in PNG, JPEG, BMP, TIFF, WebP, GIF or PPM"
    elif isinstance(error, (OSError, ValueError, SyntaxError)):
        problem = str(error)
    else:
        problem = f"decoding it fails with {type(error).__name__}: {error}"
    return UserError(f"cannot be read as an image: {problem}", where=str(path), fix="replace it or remove it")


MOST_KEPT: Final = 256 << 20
"""Bytes. What does not fit is decoded again, as is everything in a process that decodes for another."""


class Decoded:
    """The pairs read last, as many as fit in `most` bytes; a copy in another process begins without any.

    With `once` each image is read a single time: it keeps what `hold` was given until that is read, and nothing else.
    """

    def __init__(self, most: int = MOST_KEPT, once: bool = False) -> None:
        self.most, self.once, self._bytes = most, once, 0
        self._pairs: OrderedDict[tuple[object, ...], Pair] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type["Decoded"], tuple[int, bool]]:
        return Decoded, (self.most, self.once)

    def hold(self, image: Path, picture: Image.Image, size: int) -> None:
        """Keep an image without a mask that is decoded already, if there is room: the first ones are read first."""
        pair = np.asarray(resized(picture, size)), np.zeros((size, size), np.int8)
        with self._lock:
            if self._bytes + _bytes(pair) <= self.most:
                self._keep((image, size), pair)

    def read(self, sample: Sample, size: int) -> Pair:
        """Image and mask resized to `size` x `size`. Raises `UserError` as `read_picture` does.

        Files are known by what they hold: one that is written again may have the size and time that it had.
        """
        if self.once and (pair := self._pairs.pop((sample.image, size), None)) is not None:
            self._bytes -= _bytes(pair)
            return pair
        image, first = _checked(sample.image, sample.checksums[:1])
        mask, second = _checked_mask(sample)
        key = (sample.image, first, second, sample.ignore, size)
        if (pair := self._pairs.get(key)) is not None:
            self._pairs.move_to_end(key)
            return pair
        picture = open_picture(sample.image, image)
        pair = np.asarray(resized(picture, size)), _mask(sample, mask, picture.size, size)
        if get_worker_info() is None and not self.once:
            self._keep(key, pair)
        return pair

    def _keep(self, key: tuple[object, ...], pair: Pair) -> None:
        self._pairs[key] = pair
        self._bytes += _bytes(pair)
        while self._bytes > self.most:
            self._bytes -= _bytes(self._pairs.popitem(last=False)[1])


def _bytes(pair: Pair) -> int:
    return pair[0].nbytes + pair[1].nbytes


def read_picture_and_mask(sample: Sample, size: int) -> tuple[Picture, Mask | None]:
    """Pixels `[S, S, 3]`, and the mask `[S, S]`: empty for a normal image, None where an anomalous one has none."""
    picture = read_picture(sample)
    unknown = sample.label == 1 and sample.mask is None
    mask = None if unknown else read_mask(sample, picture.size, size)
    return np.asarray(resized(picture, size)), mask
