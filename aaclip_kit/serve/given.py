"""What a client has sent as pictures, decoded within limits and ready to be scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from ..contracts.errors import UserError
from ..data.decode import open_picture, resized
from ..data.image_file import pages_of
from ..data.scan import LEAST_SIDE
from ..evaluation.calibration import Tiles
from ..inference.looked_at import LookedAt
from ..inference.tile_grid import grid_for
from .limits import Refusal
from .uploads import Upload

SHOWN_SIDE: Final = 1024
"""Longest side, in pixels, of the photograph that is sent back."""

_NOBODYS: Final = Path("\0")
"""No file can be called so: nothing that a client sends is looked up among the server's files."""


class Page(NamedTuple):
    """One picture of a file: what the answer calls it, and where the file's bytes have it."""

    name: str
    place: Path
    content: bytes


@dataclass(frozen=True)
class Given:
    """A picture at the model's size, or with tiles at its own, which `size` is, and a small one to be shown."""

    name: str
    picture: Image.Image
    size: tuple[int, int]
    shown: Image.Image | None

    @property
    def bytes(self) -> int:
        """Return how much memory the picture takes."""
        return 3 * self.picture.width * self.picture.height


def pages_in_uploads(uploads: Sequence[Upload]) -> list[Page]:
    """Find the pictures of each file: those of one that has several are called as in `scan.tif#2`."""
    return [
        Page(f"{upload.name}{place.name.removeprefix(_NOBODYS.name)}", place, upload.content)
        for upload in uploads
        for place in pages_of(_NOBODYS, upload.content)
    ]


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Decodes pages for a model that sees `side` x `side` pixels; no picture may have more than `most_pixels`."""

    side: int
    most_pixels: int
    tiles: Tiles | None = None
    looked_at: LookedAt | None = None

    def decoded(self, page: Page, shown: bool) -> Given | UserError:
        """Decode a page as `aakit predict` does; a fault names the client's file, and none of the server's."""
        try:
            picture = open_picture(page.place, page.content, self.most_pixels)
            if min(picture.size) < LEAST_SIDE:
                problem = f"is {picture.width} x {picture.height} pixels, too small to show anything"
                raise UserError(problem, fix=f"send one whose sides have {LEAST_SIDE} at least")
            grid_for(picture.size, self.tiles, self.side)
            if self.looked_at is not None and (fault := self._nameless.fault(page.place, picture.size)):
                raise fault
        except UserError as fault:
            return UserError(fault.problem, where=page.name, fix=fault.fix)
        small = picture.copy() if shown else None
        if small is not None:
            small.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
        kept = resized(picture, self.side) if self.tiles is None else picture
        return Given(page.name, kept, picture.size, small)

    @property
    def _nameless(self) -> LookedAt:
        assert self.looked_at is not None
        return replace(self.looked_at, files=())


def all_sound(decoded: Sequence[Given | UserError]) -> list[Given]:
    """Return the pictures. Raises `Refusal` for bad ones."""
    if faults := [one for one in decoded if isinstance(one, UserError)]:
        raise Refusal(422, *faults)
    return [one for one in decoded if isinstance(one, Given)]
