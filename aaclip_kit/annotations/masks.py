"""The mask of one image, of all that is drawn on it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8

from ..contracts.errors import UserError
from .annotated import Annotated, Mark, Tally
from .decisions import Annotators, Decisions
from .shapes import Undrawable

ANOMALOUS: Final = 255
IGNORED: Final = 128
"""Values of a mask that are not black: anomalous, and neither."""

_MOST_AREA: Final = 2_000
"""Times that an image may be covered by all of the boxes around its marks."""

NO_PIXEL: Final = "marks hold no pixel's middle (fewer than three corners, too thin, or outside of the image)"

Mask = UInt8[np.ndarray, "h w"]


def check_stated_size(one: Annotated, size: tuple[int, int]) -> None:
    """Raise `UserError` where the file states another (width, height) of an image than it has."""
    if one.size in (None, size):
        return
    assert one.size is not None
    fix = "give the images that were annotated, at the size that they had"
    if one.size == size[::-1]:
        fix = "the image is turned by its EXIF tag, or was since: give it as it was shown while it was annotated"
    stated, real = (f"{width} x {height}" for width, height in (one.size, size))
    raise UserError(f"it is of an image of {stated} pixels, and the image has {real}", where=one.where, fix=fix)


def mask_of(image: Path, of: list[Annotated], size: tuple[int, int], decisions: Decisions, tally: Tally) -> Mask:
    """The mask of an image on which something is marked, of all of its annotators.

    Raises `UserError` for what cannot be drawn, and where no pixel is marked in the end.
    """
    drawn = [_drawn([mark for mark in one.marks or () if decisions.counts(mark)], size, decisions, tally) for one in of]
    if len(of) > 1:
        tally.add(f"images are annotated more than once: what {decisions.annotators} marked counts", image)
    # What one takes for a defect and another for doubtful: the larger value is the defect's.
    mask: Mask = (np.minimum if decisions.annotators is Annotators.all else np.maximum).reduce(drawn)
    if not mask.any():
        problem = "of what is marked on it no pixel is left" + (" on which all annotators agree" if len(of) > 1 else "")
        fix = "mark it again, or take the marks away, so that it is an image on which nothing is marked"
        raise UserError(problem, where=f"{image} ({of[0].where})", fix=fix)
    return mask


def _drawn(marks: Iterable[Mark], size: tuple[int, int], decisions: Decisions, tally: Tally) -> Mask:
    width, height = size
    mask, area = np.zeros((height, width), np.uint8), 0
    for mark in marks:
        try:
            patch = mark.draw(width, height)
            if (area := area + patch.marked.size) > _MOST_AREA * mask.size:
                raise Undrawable("with those before it, it covers more than a person draws")
        except Undrawable as error:
            fix = "draw it again, or take it out of the file"
            raise UserError(str(error), where=mark.where, fix=fix) from None
        if not patch.marked.any():
            tally.add(NO_PIXEL, mark.where)
            continue
        for remark in patch.remarks:
            tally.add(remark, mark.where)
        part = mask[patch.top : patch.top + patch.marked.shape[0], patch.left : patch.left + patch.marked.shape[1]]
        np.maximum(part, patch.marked * np.uint8(IGNORED if decisions.is_ignored(mark) else ANOMALOUS), out=part)
    return mask
