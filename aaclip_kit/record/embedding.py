"""Pictures inside an HTML file, within a budget."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

BUDGET: Final = 3_200_000
"""Bytes of all pictures together before base64, which adds a third."""


@dataclass(frozen=True)
class Picture:
    """An embedded picture: its caption, its data URI and its size in pixels."""

    caption: str
    uri: str
    width: int
    height: int


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
        kind = "png" if lossless else "jpeg"
        uri = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
        pictures.append(Picture(file.stem.replace("_", " "), uri, *size))
    return pictures, len(files) - len(pictures)


def _jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.convert("RGB").save(out, "JPEG", quality=82)
    return out.getvalue()
