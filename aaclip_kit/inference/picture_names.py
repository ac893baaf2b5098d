"""Names of the pictures that predictions are drawn as: one of its own for each image, whatever that is called."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from os.path import commonpath
from pathlib import Path
from typing import Final

from ..data.image_file import page_of

_PAGE: Final = re.compile(r"(.*)#\d+((?:_\d+)?)\.png")

_LONGEST: Final = 255
"""Bytes of the longest name that file systems have."""


@dataclass(frozen=True)
class PictureName:
    """An image's place below the folder that all are in, and what ends its names where others bear them already."""

    place: Path
    end: str = ""
    end_of_pages: str = ""

    def of(self, image: Path) -> Path:
        """Return the name for the image, or for a page of its file. What would be too long loses its end."""
        if image.name == self.place.name and not page_of(image)[1]:
            return self.place.with_name(_cut(self.place.stem, f"{self.end}.png"))
        name, _, page = image.name.rpartition("#")
        return self.place.with_name(_cut(name, f"#{page}{self.end_of_pages}.png"))


def picture_names(images: Sequence[Path], taken: Iterable[str] = ()) -> Iterator[PictureName]:
    """Name each image's pictures, in the order of the images: its place below the folder that all are in, as PNG.

    Links are not followed. Where two would have one name, one that is `taken`, or one that of a folder, a number is
    added; upper and lower case are one, as some file systems have it.
    """
    folders = sorted({os.path.abspath(image.parent) for image in images})  # noqa: PTH100 - keeps links
    root = commonpath(folders) if folders else ""
    below = {folder: Path(folder).relative_to(root) for folder in folders}
    used = {_folded(Path(part)) for name in taken for part in (name, _of_pages(name))}
    used |= {_folded(part) for folder in below.values() for part in (folder, *folder.parents)}
    for image in images:
        place = below[os.path.abspath(image.parent)] / image.name  # noqa: PTH100
        ends = (end for end in chain([""], _numbers()) if _folded(place.with_name(f"{place.name}#{end}")) not in used)
        end_of_pages, first = next(ends), [] if _is_like_page(image) else [""]
        names = (PictureName(place, end, end_of_pages) for end in chain(first, _numbers()))
        name = next(name for name in names if _folded(name.of(image)) not in used)
        used |= {_folded(name.of(image)), _folded(place.with_name(f"{place.name}#{end_of_pages}"))}
        yield name


def _numbers() -> Iterator[str]:
    return (f"_{number}" for number in count(2))


def _of_pages(name: str) -> str:
    """What the pictures of a file's pages have in common, of one such picture; any other name as it is."""
    return _PAGE.sub(r"\1#\2", name)


def _is_like_page(image: Path) -> bool:
    """Whether an image's name is that of a page of another file, whose picture it would be in the way of."""
    file, _, page = image.stem.rpartition("#")
    return bool(file) and page.isdecimal() and page_of(image)[1] is None and image.with_name(file).exists()


def _folded(name: Path) -> str:
    return unicodedata.normalize("NFC", str(name).casefold())


def _cut(stem: str, end: str) -> str:
    name = os.fsencode(stem)[: _LONGEST - len(os.fsencode(end))]
    return (stem if name == os.fsencode(stem) else name.decode(errors="ignore")) + end
