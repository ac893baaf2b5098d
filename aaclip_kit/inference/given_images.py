"""Images that a program gives: paths, and pictures that it holds as arrays, tensors or PIL images."""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from ..contracts.errors import UserError
from ..data.decode import in_rgb
from ..data.decoded import MOST_KEPT
from ..data.image_file import MOST_PIXELS
from ..data.scan import LEAST_SIDE

GivenImage = str | Path | Image.Image | np.ndarray | Tensor
"""A path; or a picture: [H, W] or [H, W, 3] as an array, [3, H, W] or [1, H, W] as a tensor."""

_MOST_AT_ONCE: Final = 128
"""Images of a block, or fewer where their pictures at the model's size take more than is kept."""

_FIX: Final = (
    "give uint8 from 0 to 255 or floats from 0 to 1, [H, W] or [H, W, 3] as an array and [3, H, W] as a tensor"
)


def block_size(batch: int, side: int) -> int:
    """Return how many images are read before the first of them is scored: whole batches."""
    return max(1, min(_MOST_AT_ONCE, MOST_KEPT // (4 * side**2)) // batch) * batch


def check_several(images: Any) -> None:
    """Raise `UserError` for a single image, such as a text, whose letters would be taken for paths."""
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray | Tensor) and images.ndim < 4):
        shown = repr(images)[:200] if isinstance(images, str | Path) else type(images).__name__
        raise UserError("is one image, and predict_all takes several", where=shown, fix="give a list, or use predict")


Group = list[tuple[int, GivenImage]]
"""Images with their number, from 1: all of them paths, or none."""


def in_groups(images: Iterable[GivenImage], most: int) -> Iterator[Group]:
    """Cut images, of which there may be any number, into groups of `most` at most."""
    numbered = iter(enumerate(images, start=1))
    while block := list(islice(numbered, most)):
        for _, group in groupby(block, lambda pair: isinstance(pair[1], str | Path)):
            yield list(group)


def as_picture(image: Any, name: str) -> Image.Image:
    """Return a given picture in RGB, upright. Raises `UserError`, which calls it `name`, for what is none."""
    if isinstance(image, Image.Image):
        try:
            # Whole numbers of Pillow are of 16 bits where these files are read, and of any number elsewhere.
            bits = 32 if image.mode == "I" and image.format not in ("PNG", "PPM") else 16
            picture = in_rgb(ImageOps.exif_transpose(image), bits)
        except Exception as error:  # a decoder may raise anything
            raise UserError(f"cannot be read as an image: {error}", where=name, fix=_FIX) from None
    elif isinstance(image, np.ndarray | Tensor):
        picture = Image.fromarray(_as_bytes(image, name)).convert("RGB")
    else:
        raise UserError(f"is no image, but of type {type(image).__name__}", where=name, fix=_FIX)
    width, height = picture.size
    if min(width, height) < LEAST_SIDE or width * height > MOST_PIXELS:
        fix = f"give an image of {LEAST_SIDE} x {LEAST_SIDE} to {MOST_PIXELS:,} pixels"
        raise UserError(f"is {width} x {height} pixels", where=name, fix=fix)
    return picture


def _as_bytes(image: np.ndarray | Tensor, name: str) -> np.ndarray:
    """The pixels as `[H, W, C]` or `[H, W]` from 0 to 255."""
    if isinstance(image, Tensor) and image.is_floating_point():
        image = image.float()  # numpy has no bfloat16
    values: np.ndarray = image.detach().cpu().numpy() if isinstance(image, Tensor) else image
    kind = "a tensor" if isinstance(image, Tensor) else "an array"
    if isinstance(image, Tensor) and values.ndim == 3:
        values = values.transpose(1, 2, 0)
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in (1, 3, 4) or not values.size:
        raise UserError(f"is {kind} of shape {list(image.shape)}", where=name, fix=_FIX)
    if values.dtype != np.uint8:
        if values.dtype.kind != "f" or not (values.min() >= 0 and values.max() <= 1):
            reach = f"{values.min():.4g} to {values.max():.4g}"
            raise UserError(f"holds {values.dtype} from {reach}", where=name, fix=_FIX)
        values = np.round(values * 255).astype(np.uint8)
    return np.ascontiguousarray(values[..., 0] if values.ndim == 3 and channels == 1 else values)
