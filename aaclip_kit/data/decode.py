"""Decoding images and masks. Every fault of a file is one `UserError` that names it."""

import warnings
from collections import OrderedDict
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import Final

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import get_worker_info

from ..contracts.data import Sample
from ..contracts.errors import UserError

MOST_PIXELS = 100_000_000
"""Pixels of the largest image that is decoded. The size in a file's header decides, before anything is unpacked."""

MOST_BYTES: Final = 1 << 30
"""Size of the largest file that is read: `MOST_PIXELS` without compression, in 16 bits and four channels, fit."""

FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
"""Formats that are decoded, whatever a file's name. Among Pillow's others is one that starts a program."""

Picture = UInt8[np.ndarray, "S S 3"]
Mask = Bool[np.ndarray, "S S"]
Pair = tuple[Picture, Mask]
"""An image before normalisation, and its mask: all False without a file. They are shared, and not to be changed."""


class _Decoding:
    """Bounds the images of Pillow by `MOST_PIXELS` and silences it while a thread decodes, for all of them at once."""

    def __init__(self) -> None:
        self._lock, self._threads, self._before = Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._threads:
                self._before.enter_context(warnings.catch_warnings())
                # What Pillow warns of in a damaged file, it raises as well or can do without.
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._before.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = MOST_PIXELS
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if not self._threads:
                self._before.close()


_DECODING: Final = _Decoding()


def open_picture(path: Path, content: bytes | None = None) -> Image.Image:
    """An image in RGB, upright (EXIF orientation applied). 16-bit grey is scaled to 8 bits; alpha is dropped.

    `content` is what the file holds, where it has been read already. Raises `UserError` for a file that is missing,
    damaged, no image, of floating-point numbers, or of more than `MOST_PIXELS` pixels.
    """
    try:
        with _DECODING:
            upright = _upright(path, content)
            if upright.mode.startswith("I;16") or upright.mode == "I":
                upright = Image.fromarray((np.asarray(upright, np.uint32) >> 8).clip(0, 255).astype(np.uint8))
            if upright.mode == "F":
                raise ValueError("its pixels are floating-point numbers, which have no agreed scale")
            return upright.convert("RGB")
    # A decoder may raise anything: Pillow's raise TypeError or struct.error over a damaged EXIF block.
    except Exception as error:
        raise _unreadable(path, error) from None


def open_mask(path: Path, size: tuple[int, int] | None, content: bytes | None = None) -> Image.Image:
    """A mask of `size` (width, height), or any, upright: 255 where the file is not black; alpha does not count.

    Raises `UserError` as `open_picture` does, and for a mask of another size.
    """
    try:
        with _DECODING:
            upright = _upright(path, content)
            # A palette's numbers say nothing: its first colour may be white. Nor do those of CMYK: 0 is white.
            coloured = upright.mode in ("P", "PA", "LA", "CMYK")
            values = np.asarray(upright.convert("RGB") if coloured else upright)
    except Exception as error:
        raise _unreadable(path, error) from None
    values = values[..., :3].max(axis=-1) if values.ndim == 3 else values
    if size is not None:
        check_mask_size(path, (values.shape[1], values.shape[0]), size)
    return Image.fromarray((values != 0).astype(np.uint8) * 255)


def _upright(path: Path, content: bytes | None) -> Image.Image:
    with Image.open(BytesIO(read_content(path) if content is None else content), formats=FORMATS) as picture:
        # Pillow only warns of an image between this bound and twice as much.
        if picture.width * picture.height > MOST_PIXELS:
            raise Image.DecompressionBombError
        # Each is decoded, also those that lie outside of the image.
        if len(picture.tile) > 8 * (picture.height + picture.width * picture.height // 256 + 1):
            raise ValueError("its table of tiles has more entries than the image has room for")
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        # Converting would blend it in or warn of it, and alpha is dropped.
        upright.info.pop("transparency", None)
        return upright


def read_content(path: Path) -> bytes:
    """What an image file holds. Raises `UserError` for one that is missing, too large, or no plain file."""
    try:
        # A pipe would be waited for, and a device has no end.
        if path.exists() and not path.is_file():
            raise UserError("is no plain file", where=str(path), fix="replace it or remove it")
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"has more than {MOST_BYTES:,} bytes", where=str(path), fix="replace it or remove it")
        return path.read_bytes()
    except FileNotFoundError:
        fix = "restore it or take it out of the data set"
        raise UserError("there is no such file", where=str(path), fix=fix) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read ({reason})", where=str(path), fix="make it readable") from None


def check_mask_size(path: Path, mask: tuple[int, int], image: tuple[int, int]) -> None:
    """Raise `UserError` where a mask's (width, height) is not its image's."""
    if mask != image:
        problem = f"the mask is {mask[0]} x {mask[1]} pixels, its image {image[0]} x {image[1]}"
        raise UserError(problem, where=str(path), fix="make the mask as large as its image")


def resized(picture: Image.Image, size: int) -> Image.Image:
    """Bicubic to `size` x `size`, without a crop."""
    return picture if picture.size == (size, size) else picture.resize((size, size), Image.Resampling.BICUBIC)


def read_mask(path: Path | None, image_size: tuple[int, int] | None, size: int) -> Mask:
    """A mask resized with nearest neighbours; all False without a file. Its own size is not looked at without one."""
    if path is None:
        return np.zeros((size, size), bool)
    return np.asarray(open_mask(path, image_size).resize((size, size), Image.Resampling.NEAREST)) > 0


def _unreadable(path: Path, error: Exception) -> UserError:
    if isinstance(error, UserError):
        return error
    if isinstance(error, Image.DecompressionBombError):
        problem = f"is too large: it has more than {MOST_PIXELS:,} pixels"
        return UserError(problem, where=str(path), fix="scale it down, or cut it into tiles")
    if isinstance(error, UnidentifiedImageError):
        problem = "what it holds is no image in PNG, JPEG, BMP, TIFF or WebP"  # Pillow's own words name the file again
    elif isinstance(error, (OSError, ValueError, SyntaxError)):
        problem = str(error)
    else:
        problem = f"decoding it fails with {type(error).__name__}: {error}"
    return UserError(f"cannot be read as an image: {problem}", where=str(path), fix="replace it or remove it")


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
        pair = np.asarray(resized(picture, size)), np.zeros((size, size), bool)
        with self._lock:
            if self._bytes + _bytes(pair) <= self.most:
                self._keep((_version(image), None, size), pair)

    def read(self, image: Path, mask: Path | None, size: int) -> Pair:
        """Image and mask resized to `size` x `size`. Raises `UserError` for a file that cannot be read."""
        key = (_version(image), mask and _version(mask), size)
        if (pair := self._pairs.get(key)) is not None:
            self._pairs.move_to_end(key)
            if self.once:
                self._bytes -= _bytes(self._pairs.pop(key))
            return pair
        picture = open_picture(image)
        pair = np.asarray(resized(picture, size)), read_mask(mask, picture.size, size)
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


def _version(file: Path) -> tuple[object, ...]:
    """Tells a file from every other, and from what it was before it was written again."""
    try:
        facts = file.stat()
    except OSError:  # reading it says what is the matter
        return (file,)
    return (file, facts.st_mtime_ns, facts.st_size, facts.st_ino)


def read_picture_and_mask(sample: Sample, size: int) -> tuple[Picture, Mask | None]:
    """Pixels `[S, S, 3]`, and the mask `[S, S]`: empty for a normal image, None where an anomalous one has none."""
    picture = open_picture(sample.image)
    unknown = sample.label == 1 and sample.mask is None
    mask = None if unknown else read_mask(sample.mask, picture.size, size)
    return np.asarray(resized(picture, size)), mask
