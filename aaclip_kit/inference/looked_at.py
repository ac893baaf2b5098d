"""The part of every image that is looked at: a mask as a picture, of the images' own size."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

from ..contracts.errors import UserError
from ..data.decode import open_picture

SAME_SIZE: Final = "give images of one size, and a mask of that size"

_A_MASK: Final = "give --roi or --ignore a picture of black and white alone, as PNG"


@dataclass(frozen=True, eq=False)
class LookedAt:
    """Where images are looked at: `pixels` are true there. `files` name the masks that it was read from."""

    pixels: Bool[np.ndarray, "H W"]
    files: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the images that it is for."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def share(self) -> float:
        """Return the share of an image that is looked at."""
        return float(self.pixels.mean())

    @property
    def digest(self) -> str:
        """Return a checksum of the pixels."""
        return sha256(str(self.size).encode() + np.packbits(self.pixels).tobytes()).hexdigest()

    def fault(self, image: Path, size: tuple[int, int]) -> UserError | None:
        """Return what to tell the user of an image that has another size, in pixels (width, height)."""
        if size == self.size:
            return None
        own, wanted = (f"{width} x {height}" for width, height in (size, self.size))
        problem = f"is {own} pixels, and {' and '.join(self.files) or 'the mask of what is looked at'} {wanted}"
        return UserError(problem, where=str(image), fix=SAME_SIZE)

    def peaks(self, maps: Float32[np.ndarray, "B S S"]) -> Float32[np.ndarray, " B"]:
        """Return the largest value of each map, at the model's size, where the image is looked at."""
        small = Image.fromarray(self.pixels.astype(np.uint8) * 255).resize(maps.shape[:0:-1], Image.Resampling.BOX)
        shares = np.asarray(small)
        inside = shares >= min(128, int(shares.max()))  # a part that is smaller than any pixel of the map counts
        largest: Float32[np.ndarray, " B"] = maps[:, inside].max(axis=1)
        return largest


def read_looked_at(roi: Path | None, ignore: Path | None) -> LookedAt | None:
    """Read masks: what is white in `roi`, and not in `ignore`, is looked at. None without either.

    Raises `UserError` for a file that is no picture, for masks of two sizes, and where nothing is left to look at.
    """
    given = [path for path in (roi, ignore) if path is not None]
    if not given:
        return None
    white = {path: _white(path) for path in given}
    _check_one_size(given, [white[path].shape for path in given])
    pixels = np.ones(white[given[0]].shape, bool)
    pixels &= white[roi] if roi else True
    pixels &= ~white[ignore] if ignore else True
    if not pixels.any():
        problem = "leaves no pixel to look at"
        raise UserError(problem, where=" and ".join(map(str, given)), fix="mark in white what --roi or --ignore means")
    return LookedAt(pixels, tuple(map(str, given)))


def _white(path: Path) -> Bool[np.ndarray, "H W"]:
    try:
        values = np.asarray(open_picture(path).convert("L"))
    except UserError as fault:
        raise UserError(fault.problem, where=str(path), fix=_A_MASK) from None
    if grey := int(((values > 32) & (values < 223)).sum()):
        problem = f"is no mask: {grey:,} of its pixels are neither black nor white"
        raise UserError(problem, where=str(path), fix=_A_MASK)
    return values > 127


def _check_one_size(paths: Sequence[Path], shapes: Sequence[tuple[int, ...]]) -> None:
    if len(set(shapes)) > 1:
        told = " and ".join(f"{path} is {shape[1]} x {shape[0]}" for path, shape in zip(paths, shapes, strict=True))
        raise UserError(f"{told} pixels", where="--ignore", fix=SAME_SIZE)
