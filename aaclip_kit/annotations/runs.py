"""Masks written as lengths of runs: COCO's, as numbers or as a text, and those of Label Studio's brush.

Both are decoded here, since a library would be needed for some forty lines.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool

from .shapes import Undrawable

_MOST_DIGITS: Final = 7
"""Digits, of five bits each, of the largest number in COCO's text."""


def coco_counts(text: str) -> list[int]:
    """The lengths that COCO's text stands for. Raises `Undrawable`.

    Numbers are digits of five bits, the lowest first; from the fourth on they are differences to the last but one.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        digit = ord(letter) - 48
        if not 0 <= digit < 64 or shift >= 5 * _MOST_DIGITS:
            raise Undrawable("its RLE is no text of COCO's")
        value |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise Undrawable("its RLE ends within a number")
    return counts


def from_runs(counts: Sequence[int], width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The mask of lengths of unmarked and marked pixels by turns, column by column. Raises `Undrawable`."""
    if any(count < 0 for count in counts):
        raise Undrawable("its RLE has a length below zero")
    if (total := sum(counts)) != width * height:
        raise Undrawable(f"its RLE is of {total:,} pixels, and the image has {width * height:,}")
    marked = np.arange(len(counts)) % 2 == 1
    return np.repeat(marked, np.array(counts, np.int64)).reshape(width, height).T


def from_brush(content: bytes, width: int, height: int) -> Bool[np.ndarray, "h w"]:
    """The mask of a brush: marked is each pixel whose alpha is not 0, as in Label Studio's own PNGs.

    A head of 53 bits (number of values, bits of each, bits of the four kinds of length), then blocks: a bit that says
    whether one value is repeated, two for the kind of length, the length less one, and the value or values. Four
    values make a pixel, row by row. Raises `Undrawable`.
    """
    bits = _Bits(content)
    count, depth = bits.read(32), bits.read(5) + 1
    lengths = [bits.read(4) + 1 for _ in range(4)]
    if count != 4 * width * height:
        raise Undrawable(f"its RLE is of {count:,} values, and an image of this size has {4 * width * height:,}")
    if depth != 8:
        raise Undrawable(f"its RLE has values of {depth} bits, and Label Studio's have 8")
    values, start = np.zeros(count, np.uint8), 0
    while start < count:
        is_repeated = bits.read(1)
        end = start + 1 + bits.read(lengths[bits.read(2)])
        if end > count:
            raise Undrawable("its RLE goes on behind the image")
        size = 1 if is_repeated else end - start
        values[start:end] = np.frombuffer(bits.read(8 * size).to_bytes(size, "big"), np.uint8)
        start = end
    return values[3::4].reshape(height, width) != 0


class _Bits:
    """A text of bits, read from the highest of each byte on."""

    def __init__(self, content: bytes) -> None:
        self._content, self._place = content, 0

    def read(self, count: int) -> int:
        """The number that the next bits make."""
        start, self._place = self._place, self._place + count
        if self._place > 8 * len(self._content):
            raise Undrawable("its RLE ends before the image does")
        piece = int.from_bytes(self._content[start // 8 : -(-self._place // 8)], "big")
        return piece >> (-self._place % 8) & ((1 << count) - 1)
