"""Decoding images and masks. Every fault of a file is one `UserError` that names it."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageOps, UnidentifiedImageError

from ..contracts.errors import UserError

MOST_PIXELS = 100_000_000
"""Pixels of the largest image that is decoded. The size in a file's header decides, before anything is unpacked."""

MOST_BYTES: Final = 1 << 30
"""Size of the largest file that is read: `MOST_PIXELS` without compression, in 16 bits and four channels, fit."""

FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Formats that are decoded, whatever a file's name. Among Pillow's others is one that starts a program."""

Image.MAX_IMAGE_PIXELS = MOST_PIXELS
# What Pillow warns of in a damaged file, it raises as well or can do without.
warnings.filterwarnings("ignore", module=r"PIL\.")

_TOO_LARGE = (Image.DecompressionBombWarning, Image.DecompressionBombError)


def open_picture(path: Path, content: bytes | None = None) -> Image.Image:
    """An image in RGB, upright (EXIF orientation applied). 16-bit grey is scaled to 8 bits; alpha is dropped.

    `content` is what the file holds, where it has been read already. Raises `UserError` for a file that is missing,
    damaged, no image, of floating-point numbers, or of more than `MOST_PIXELS` pixels.
    """
    try:
        upright = _upright(path, content)
        if upright.mode.startswith("I;16") or upright.mode == "I":
            upright = Image.fromarray((np.asarray(upright, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
        if upright.mode == "F":
            raise ValueError("its pixels are floating-point numbers, which have no agreed scale")
        # Pillow would warn of a palette's transparency, which is dropped like any alpha.
        upright.info.pop("transparency", None)
        return upright.convert("RGB")
    # A decoder may raise anything: Pillow's raise TypeError or struct.error over a damaged EXIF block.
    except Exception as error:
        raise _unreadable(path, error) from None


def open_mask(path: Path, size: tuple[int, int] | None, content: bytes | None = None) -> Image.Image:
    """A mask of `size` (width, height), or any, upright: 255 where the file is not black; alpha does not count.

    Raises `UserError` as `open_picture` does, and for a mask of another size.
    """
    try:
        upright = _upright(path, content)
        upright.info.pop("transparency", None)
        # A palette's numbers say nothing: its first colour may be white. Nor do those of CMYK: 0 is white.
        coloured = upright.mode in ("P", "PA", "LA", "CMYK")
        values = np.asarray(upright.convert("RGB") if coloured else upright)
    except Exception as error:
        raise _unreadable(path, error) from None
    values = values[..., :3].max(axis=-1) if values.ndim == 3 else values
    if size is not None:
        check_mask_size(path, (values.shape[1], values.shape[0]), size)
    return Image.fromarray((values != 0).astype(np.uint8) * 255)


def _upright(path: Path, content: bytes | None) -> Image.Image:
    with Image.open(BytesIO(read_content(path) if content is None else content), formats=FORMATS) as picture:
        # Pillow only warns of an image between this bound and twice as much.
        if picture.width * picture.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        # Each is decoded, also those that lie outside of the image.
        if len(picture.tile) > 8 * (picture.height + picture.width * picture.height // 256 + 1):
            raise ValueError("its table of tiles has more entries than the image has room for")
        picture.load()
        return ImageOps.exif_transpose(picture)


def read_content(path: Path) -> bytes:
    """What an image file holds. Raises `UserError` for one that is missing, too large, or no plain file."""
    try:
        # A pipe would be waited for, and a device has no end.
        if path.exists() and not path.is_file():
            raise UserError("is no plain file", where=str(path), fix="replace it or remove it")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"has more than {MOST_BYTES:,} bytes", where=str(path), fix="replace it or remove it")
        return path.read_bytes()
    except FileNotFoundError:
        fix = "restore it or take it out of the data set"
        raise UserError("there is no such file", where=str(path), fix=fix) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read ({reason})", where=str(path), fix="make it readable") from None


def check_mask_size(path: Path, mask: tuple[int, int], image: tuple[int, int]) -> None:
    """Raise `UserError` where a mask's (width, height) is not its image's."""
    if mask != image:
        problem = f"the mask is {mask[0]} x {mask[1]} pixels, its image {image[0]} x {image[1]}"
        raise UserError(problem, where=str(path), fix="make the mask as large as its image")


def resized(picture: Image.Image, size: int) -> Image.Image:
    """Bicubic to `size` x `size`, without a crop."""
    return picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BICUBIC)


def read_mask(path: Path | None, image_size: tuple[int, int] | None, size: int) -> Bool[np.ndarray, "S S"]:
    """A mask resized with nearest neighbours; all False without a file. Its own size is not looked at without one."""
    if path is None:
        return np.zeros((size, size), bool)
    return np.asarray(open_mask(path, image_size).resize((size, size), Image.Resampling.NEAREST)) > 0


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, _TOO_LARGE):
        problem = f"is too large: it has more than {MOST_PIXELS:,} pixels"
        return UserError(problem, where=str(path), fix="scale it down, or cut it into tiles")
    if isinstance(error, UnidentifiedImageError):
        problem = "what it holds is no image in PNG, JPEG, BMP, TIFF or WebP"  # Pillow's own words name the file again
    elif isinstance(error, (OSError, ValueError, SyntaxError)):
        problem = str(error)
    else:
        problem = f"decoding it fails with {type(error).__name__}: {error}"
    return UserError(f"cannot be read as an image: {problem}", where=str(path), fix="replace it or remove it")
