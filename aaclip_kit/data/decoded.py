"""Images and masks of samples at the model's size, checked to be those that were looked through, and kept."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from jaxtyping import Int8
from PIL import Image
from torch.utils.data import get_worker_info

from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError
from .decode import Mask, Picture, open_mask, open_picture, resized
from .image_file import checksum, read_content

Pair = tuple[Picture, Mask]
"""An image before normalisation, and its mask: all 0 without a file. They are shared, and not to be changed."""


def read_picture(sample: Sample) -> Image.Image:
    """A sample's image, as `open_picture` has it. Raises `UserError` too where it is no longer what was scanned."""
    return open_picture(sample.image, _checked(sample.image, sample.checksums[:1])[0])


def read_mask(sample: Sample, image_size: tuple[int, int] | None, size: int) -> Mask:
    """A sample's mask resized with nearest neighbours; all 0 without a file, whose own size goes unseen without one."""
    return _mask(sample, _checked_mask(sample)[0], image_size, size)


def read_marks(sample: Sample, image_size: tuple[int, int]) -> Int8[np.ndarray, "H W"]:
    """A sample's mask at its image's own size (width, height); all 0 without a file. Raises `UserError`."""
    if sample.mask is None:
        return np.zeros(image_size[::-1], np.int8)
    return open_mask(sample.mask, image_size, _checked_mask(sample)[0], ignore=sample.ignore).marks


def _mask(sample: Sample, content: bytes, image_size: tuple[int, int] | None, size: int) -> Mask:
    if sample.mask is None:
        return np.zeros((size, size), np.int8)
    marks = Image.fromarray(open_mask(sample.mask, image_size, content, ignore=sample.ignore).marks.view(np.uint8))
    return np.array(marks.resize((size, size), Image.Resampling.NEAREST)).view(np.int8)


def _checked_mask(sample: Sample) -> tuple[bytes, str]:
    return (b"", "") if sample.mask is None else _checked(sample.mask, sample.checksums[1:])


def _checked(path: Path, known: tuple[str, ...]) -> tuple[bytes, str]:
    """What a file holds, and its checksum. Raises `UserError` where that is not the one it had."""
    content = read_content(path)
    found = checksum(path, content)
    if known and known != (found,):
        fix = "begin again, and leave the files as they are until the end"
        raise UserError("has been changed since the data were looked through", where=str(path), fix=fix)
    return content, found


MOST_KEPT: Final = 256 << 20
"""Bytes. What does not fit is decoded again, as is everything in a process that decodes for another."""


class Decoded:
    """The pairs read last, as many as fit in `most` bytes; a copy in another process begins without any.

    With `once` each image is read a single time: it keeps what `hold` was given until that is read, and nothing else.
    """

    def __init__(self, most: int = MOST_KEPT, once: bool = False) -> None:
        self.most, self.once, self._bytes = most, once, 0
        self._pairs: OrderedDict[tuple[object, ...], Pair] = OrderedDict()
        self._lock = Lock()

    def __reduce__(self) -> tuple[type["Decoded"], tuple[int, bool]]:
        return Decoded, (self.most, self.once)

    def hold(self, image: Path, picture: Image.Image, size: int) -> None:
        """Keep an image without a mask that is decoded already, if there is room: the first ones are read first."""
        pair = np.asarray(resized(picture, size)), np.zeros((size, size), np.int8)
        with self._lock:
            if self._bytes + _bytes(pair) <= self.most:
                self._keep((image, size), pair)

    def cut(self, data: DataSet, sizes: Sequence[tuple[int, int]]) -> DataSet:
        """Return what is read of a data set whose images have these sizes (width, height): here the images."""
        return data

    def whole_of(self, sample: Sample) -> Sample:
        """Return the image that a sample of what is read is of."""
        return sample

    def read(self, sample: Sample, size: int) -> Pair:
        """Image and mask resized to `size` x `size`. Raises `UserError` as `read_picture` does.

        Files are known by what they hold: one that is written again may have the size and time that it had.
        """
        if self.once and (pair := self._pairs.pop((sample.image, size), None)) is not None:
            self._bytes -= _bytes(pair)
            return pair
        image, first = _checked(sample.image, sample.checksums[:1])
        mask, second = _checked_mask(sample)
        key = (sample.image, first, second, sample.ignore, size)
        if (pair := self._pairs.get(key)) is not None:
            self._pairs.move_to_end(key)
            return pair
        picture = open_picture(sample.image, image)
        pair = np.asarray(resized(picture, size)), _mask(sample, mask, picture.size, size)
        if get_worker_info() is None and not self.once:
            self._keep(key, pair)
        return pair

    def _keep(self, key: tuple[object, ...], pair: Pair) -> None:
        self._pairs[key] = pair
        self._bytes += _bytes(pair)
        while self._bytes > self.most:
            self._bytes -= _bytes(self._pairs.popitem(last=False)[1])


def _bytes(pair: Pair) -> int:
    return pair[0].nbytes + pair[1].nbytes


def read_picture_and_mask(sample: Sample, size: int) -> tuple[Picture, Mask | None]:
    """Pixels `[S, S, 3]`, and the mask `[S, S]`: empty for a normal image, None where an anomalous one has none."""
    picture = read_picture(sample)
    unknown = sample.label == 1 and sample.mask is None
    mask = None if unknown else read_mask(sample, picture.size, size)
    return np.asarray(resized(picture, size)), mask
