"""Drawn pictures for a new data set to read: sheets of metal, some of them with a stain."""

from __future__ import annotations

import io
from pathlib import PurePosixPath
from random import Random

from PIL import Image, ImageDraw

SIDE, EACH = 112, 4
_BRIGHTNESS = range(150, 190)


def sample_images() -> dict[PurePosixPath, bytes]:
    """PNG files below `sample_data`: EACH normal and EACH anomalous pictures of SIDE pixels, and their masks."""
    files, root = {}, PurePosixPath("sample_data")
    for number in range(EACH):
        files[root / "normal" / f"{number:03}.png"] = _png(_sheet(Random(number)))
        random = Random(EACH + number)
        image, mask = _sheet(random), Image.new("L", (SIDE, SIDE))
        place = _stain(random)
        ImageDraw.Draw(image).ellipse(place, fill=(90, 60, 40))
        ImageDraw.Draw(mask).ellipse(place, fill=255)
        files[root / "anomalous" / f"{number:03}.png"] = _png(image)
        files[root / "masks" / f"{number:03}.png"] = _png(mask)
    return files


def _sheet(random: Random) -> Image.Image:
    grey = Image.frombytes("L", (SIDE, SIDE), bytes(random.choices(_BRIGHTNESS, k=SIDE * SIDE)))
    return grey.convert("RGB")


def _stain(random: Random) -> tuple[int, int, int, int]:
    width, height = random.randint(14, 30), random.randint(14, 30)
    left, top = random.randint(4, SIDE - width - 4), random.randint(4, SIDE - height - 4)
    return left, top, left + width, top + height


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
