"""Photographs of surfaces that defects are blended into: permissive crops, by material, apart in three splits.

`sources.csv` says where each is from, by whom and under which licence.
"""

import csv
import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from ..blend import Photograph

_FOLDER = Path(__file__).parent


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with (_FOLDER / "sources.csv").open(newline="", encoding="utf-8") as table:
        return tuple(csv.DictReader(table))


def materials_of(split: str) -> tuple[str, ...]:
    """Names of the materials of a split."""
    return tuple(dict.fromkeys(row["material"] for row in _rows() if row["split"] == split))


def digest_of(split: str) -> bytes:
    """SHA-256 of what the photographs of a split are decoded from, and of what by; none is decoded."""
    digest = hashlib.sha256(PIL.__version__.encode())
    for row in _rows():
        if row["split"] == split:
            content = hashlib.sha256((_FOLDER / row["file"]).read_bytes())
            digest.update(row["material"].encode() + b"\0" + content.digest())
    return digest.digest()


@cache
def photographs_of(material: str) -> tuple[Photograph, ...]:
    """The photographs of a material, uint8 [H, W, 3]; none for an unknown name."""
    files = [_FOLDER / row["file"] for row in _rows() if row["material"] == material]
    return tuple(np.asarray(Image.open(file).convert("RGB")) for file in files)
