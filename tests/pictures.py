"""Image files put together by hand."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def noise(height: int, width: int) -> np.ndarray:
    """The same noise every time, `[height, width, 3]`."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """These pixels as a file of a kind that Pillow writes."""
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, kind, **options)
    return out.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(header: tuple[int, ...], body: bytes, *chunks: bytes) -> bytes:
    """A PNG: width, height, depth, kind of colour and three zeros; what its data chunk holds; more chunks before it."""
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header))
    return start + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
