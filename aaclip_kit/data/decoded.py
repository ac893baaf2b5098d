"""Images and masks of the model's size, kept once decoded: epochs and evaluations ask for the same ones again."""

from collections import OrderedDict
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, UInt8
from torch.utils.data import get_worker_info

from .pictures import open_picture, read_mask, resized

MOST_KEPT: Final = 256 << 20
"""Bytes. What does not fit is decoded again, as is everything in a process that decodes for another."""

Pair = tuple[UInt8[np.ndarray, "S S 3"], Bool[np.ndarray, "S S"]]
"""An image before normalisation, and its mask: all False without a file. They are shared, and not to be changed."""


class Decoded:
    """The pairs read last, as many as fit."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.most, self._bytes = most, 0
        self._pairs: OrderedDict[tuple[object, ...], Pair] = OrderedDict()

    def read(self, image: Path, mask: Path | None, size: int) -> Pair:
        """Image and mask resized to `size` x `size`. Raises `UserError` for a file that cannot be read."""
        key = (_version(image), mask and _version(mask), size)
        if (pair := self._pairs.get(key)) is not None:
            self._pairs.move_to_end(key)
            return pair
        picture = open_picture(image)
        pair = np.asarray(resized(picture, size)), read_mask(mask, picture.size, size)
        if get_worker_info() is None:
            self._keep(key, pair)
        return pair

    def _keep(self, key: tuple[object, ...], pair: Pair) -> None:
        self._pairs[key] = pair
        self._bytes += _bytes(pair)
        while self._bytes > self.most:
            self._bytes -= _bytes(self._pairs.popitem(last=False)[1])


DECODED: Final = Decoded()
"""Those of this process."""


def _bytes(pair: Pair) -> int:
    return pair[0].nbytes + pair[1].nbytes


def _version(file: Path) -> tuple[object, ...]:
    """Tells a file from every other, and from what it was before it was written again."""
    try:
        found = file.stat()
    except OSError:  # reading it says what is the matter
        return (file,)
    return (file, found.st_mtime_ns, found.st_size, found.st_ino)
