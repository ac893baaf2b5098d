"""Pictures inside an HTML file, within a budget."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from .figures import data_uri

BUDGET: Final = 3_200_000
"""Bytes of all pictures together before base64, which adds a third."""

_QUALITY: Final = 86


@dataclass(frozen=True)
class Picture:
    """An embedded picture: what it shows in words, its data URI and its size in pixels."""

    alt: str
    uri: str
    width: int
    height: int


@dataclass
class Budget:
    """Counts the bytes that pictures take."""

    left: int = field(default=BUDGET)

    def embed(self, alt: str, pixels: UInt8[np.ndarray, "H W 3"]) -> Picture:
        """The picture as JPEG; what it takes is counted, and refused by nobody: ask `left` before the next."""
        data = _jpeg(Image.fromarray(pixels))
        self.left -= len(data)
        return Picture(alt, data_uri("image/jpeg", data), pixels.shape[1], pixels.shape[0])


def embedded_pictures(files: Sequence[Path], budget: int = BUDGET) -> tuple[list[Picture], int]:
    """Return the pictures, and how many had to be left out.

    The files go in as they are where they fit the budget together, otherwise as JPEG, as many as fit.
    """
    lossless = sum(file.stat().st_size for file in files) <= budget
    pictures: list[Picture] = []
    spent = 0
    for file in files:
        with Image.open(file) as opened:
            size = opened.size
            data = file.read_bytes() if lossless else _jpeg(opened)
        if spent + len(data) > budget:
            break
        spent += len(data)
        uri = data_uri("image/png" if lossless else "image/jpeg", data)
        pictures.append(Picture(file.stem.replace("_", " "), uri, *size))
    return pictures, len(files) - len(pictures)


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
