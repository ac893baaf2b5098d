"""Decoding images and masks. Every fault of a file is one `UserError` that names it."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from ..contracts.errors import UserError


def open_picture(path: Path) -> Image.Image:
    """An image in RGB, upright (EXIF orientation applied). 16-bit grey is scaled to 8 bits."""
    try:
        with Image.open(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            if upright.mode.startswith("I;16") or upright.mode == "I":
                upright = Image.fromarray((np.asarray(upright, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
            if upright.mode == "F":
                raise ValueError("its pixels are floating-point numbers, which have no agreed scale")
            return upright.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None


def open_mask(path: Path, size: tuple[int, int]) -> Image.Image:
    """A mask of `size` (width, height), upright: 255 where the file is not black; alpha does not count."""
    try:
        with Image.open(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            # A palette's numbers say nothing: its first colour may be white.
            coloured = upright.mode in ("P", "PA", "LA")
            values = np.asarray(upright.convert("RGB") if coloured else upright)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from None
    values = values[..., :3].max(axis=-1) if values.ndim == 3 else values
    check_mask_size(path, (values.shape[1], values.shape[0]), size)
    return Image.fromarray((values != 0).astype(np.uint8) * 255)


def check_mask_size(path: Path, mask: tuple[int, int], image: tuple[int, int]) -> None:
    """Raise `UserError` where a mask's (width, height) is not its image's."""
    if mask != image:
        problem = f"the mask is {mask[0]} x {mask[1]} pixels, its image {image[0]} x {image[1]}"
        raise UserError(problem, where=str(path), fix="make the mask as large as its image")


def resized(picture: Image.Image, size: int) -> Image.Image:
    """Bicubic to `size` x `size`, without a crop."""
    return picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BICUBIC)


def read_pixels(path: Path, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """An image as the model sees it, before normalisation."""
    return np.asarray(resized(open_picture(path), size))


def read_mask(path: Path | None, image_size: tuple[int, int], size: int) -> Bool[np.ndarray, "S S"]:
    """A mask resized with nearest neighbours; all False without a file."""
    if path is None:
        return np.zeros((size, size), bool)
    return np.asarray(open_mask(path, image_size).resize((size, size), Image.Resampling.NEAREST)) > 0


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError("there is no such file", where=str(path), fix="restore it or take it out of the data set")
    return UserError(f"cannot be read as an image: {error}", where=str(path), fix="replace it or remove it")
