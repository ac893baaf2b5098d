"""Decoding images and masks. Every fault of a file is one `UserError` that names it."""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Int8, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ..contracts.errors import UserError
from .cut_short import check_not_cut
from .image_file import DECODING, MOST_PIXELS, MOST_TEXT, opened, page_of, pages_in, read_content
from .tiff_tags import grey_bits, is_white_zero, other_meaning

Picture = UInt8[np.ndarray, "S S 3"]
Mask = Int8[np.ndarray, "S S"]
"""1 where anomalous, 0 where normal, `IGNORED` where metrics and losses leave the pixel out."""
IGNORED: Final = -1


def open_picture(path: Path, content: bytes | None = None, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """An image in RGB, upright (EXIF orientation applied). 16-bit grey is scaled to 8 bits; alpha is dropped.

    `content` is what the file holds, where it has been read already. Raises `UserError` for a file that is missing,
    damaged, no image, of several pages where `path` names none, of numbers without an agreed scale, or of more than
    `most_pixels` pixels.
    """
    try:
        with DECODING:
            return in_rgb(*_upright(path, content, most_pixels))
    # A decoder may raise anything: Pillow's raise TypeError or struct.error over a damaged EXIF block.
    except Exception as error:
        raise _unreadable(path, error) from None


def in_rgb(upright: Image.Image, bits: int = 16) -> Image.Image:
    """An upright image in RGB; grey of more than 8 `bits` is scaled. Raises ValueError for numbers without a scale."""
    if upright.mode.startswith("I;16") or (upright.mode == "I" and bits <= 16):
        upright = Image.fromarray((np.asarray(upright) >> (bits - 8)).astype(np.uint8))
    if upright.mode in ("I", "F"):
        kind = "32-bit" if upright.mode == "I" else "floating-point"
        raise ValueError(f"its pixels are {kind} numbers, which have no agreed scale")
    return upright.convert("RGB")


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
        with DECODING:
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


def open_alpha(path: Path, content: bytes) -> Bool[np.ndarray, "h w"]:
    """Pixels of a picture that are not wholly transparent.

    Raises `UserError` as `open_picture` does, and where it has no alpha channel.
    """
    try:
        with DECODING:
            upright, _ = _upright(path, content)
            if "A" not in upright.getbands():
                raise ValueError("it has no alpha channel, in which its shape would be")
            return np.asarray(upright.getchannel("A")) > 0
    except Exception as error:
        raise _unreadable(path, error) from None


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


def _upright(path: Path, content: bytes | None, most_pixels: int = MOST_PIXELS) -> tuple[Image.Image, int]:
    """A file's picture, or the page that the path names, and its bits of grey; 0 is black."""
    page = page_of(path)[1]
    content = read_content(path) if content is None else content
    with opened(content) as picture:
        pages = pages_in(picture, content)
        if page is None and len(pages) > 1:
            fix = f"save each as a file of its own; predict takes them all, or one, as in {path.name}#2"
            raise UserError(f"holds {len(pages)} pictures where one is wanted", where=str(path), fix=fix)
        if page is not None and page > len(pages):
            raise ValueError(f"it holds {len(pages)} pictures")
        if frame := pages[(page or 1) - 1]:
            picture.seek(frame)
        # Pillow only warns of an image between this bound and twice as much.
        if picture.width * picture.height > most_pixels:
            raise _too_large(path, most_pixels)
        # Each is decoded, also those that lie outside of the image, or above one another.
        boxes = (tile.extents or (0, 0, 0, 0) for tile in picture.tile)
        if sum((right - left) * (low - top) for left, top, right, low in boxes) > 8 * picture.width * picture.height:
            raise ValueError("its table of tiles has more entries than the image has room for")
        tags = getattr(picture, "tag_v2", {})
        if problem := other_meaning(tags):
            fix = "save it in 8 or 16 bits without a sign, from black to white, and without the tag"
            raise UserError(f"cannot be read as an image: {problem}", where=str(path), fix=fix)
        picture.load()
        check_not_cut(picture, content)
        if picture.mode == "P" and not _has_every_colour(picture):
            raise ValueError("its pixels have colours that its palette does not hold")
        upright = ImageOps.exif_transpose(picture)
        # Converting would blend it in or warn of it, and alpha is dropped.
        upright.info.pop("transparency", None)
        if picture.mode == "I;16" and is_white_zero(tags):  # Pillow turns all others round
            upright = Image.fromarray(65535 - np.asarray(upright))
        return upright, grey_bits(tags)


def _has_every_colour(picture: Image.Image) -> bool:
    """Whether the palette has each colour that its pixels name; Pillow takes the others for black."""
    palette = picture.palette
    count = 0 if palette is None else len(palette.palette) // len(palette.mode)
    return int(np.asarray(picture).max()) < count


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


def _too_large(path: Path, most_pixels: int) -> UserError:
    problem = f"is too large: it has more than {most_pixels:,} pixels"
    return UserError(problem, where=str(path), fix="scale it down, or cut it into tiles")


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        return _too_large(path, MOST_PIXELS)
    if "MAX_TEXT" in str(error):
        problem = f"cannot be read as an image: a text or colour profile in it has more than {MOST_TEXT:,} bytes"
        return UserError(problem, where=str(path), fix="save it without its texts and colour profile")
    if isinstance(error, UnidentifiedImageError):  # Pillow's own words name the file again
        problem = "cannot be read as an image: what it holds is no image in PNG, JPEG, BMP, TIFF, WebP, GIF or PPM"
        return UserError(problem, where=str(path), fix="save it in one of these, or remove it")
    if isinstance(error, (OSError, ValueError, SyntaxError)):
        problem = str(error)
    else:
        problem = f"decoding it fails with {type(error).__name__}: {error}"
    return UserError(f"cannot be read as an image: {problem}", where=str(path), fix="replace it or remove it")
