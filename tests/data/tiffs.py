"""TIFF files with tags that Pillow does not write."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SIZES = {2: 1, 3: 2, 4: 4, 5: 8}
"""Bytes of a text, a short and a long number, and a fraction."""


def tiff(
    path: Path,
    pixels: np.ndarray,
    tags: dict[int, tuple[int, int | bytes]] | None = None,
    order: str = "<",
    start: int = 0,
) -> Path:
    """Write grey pixels in one strip; `tags` are types with numbers or packed values, and go before what is usual.

    `start` is added to every place, for a directory that is put behind another file of 8 bytes less.
    """
    data = pixels.tobytes()
    data += bytes(len(data) % 2)
    usual: dict[int, tuple[int, int | bytes]] = {
        256: (4, pixels.shape[1]), 257: (4, pixels.shape[0]), 258: (3, 8 * pixels.itemsize), 259: (3, 1), 262: (3, 1),
        273: (4, 8 + _moved(start)), 277: (3, 1), 278: (4, pixels.shape[0]), 279: (4, pixels.nbytes),
    }  # fmt: skip
    entries, behind = dict(sorted((usual | (tags or {})).items())), b""
    at = 8 + len(data)
    places = at + 2 + 12 * len(entries) + 4
    directory = struct.pack(f"{order}H", len(entries))
    for tag, (kind, value) in entries.items():
        packed = value if isinstance(value, bytes) else struct.pack(f"{order}{'H' if kind == 3 else 'I'}", value)
        directory += struct.pack(f"{order}HHI", tag, kind, len(packed) // SIZES[kind])
        if len(packed) > 4:
            directory += struct.pack(f"{order}I", places + len(behind) + _moved(start))
            behind += packed + bytes(len(packed) % 2)
        else:
            directory += packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at + _moved(start))
    path.write_bytes(head + data + directory + bytes(4) + behind)
    return path


def _moved(start: int) -> int:
    return start - 8 if start else 0
