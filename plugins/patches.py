"""The side of an image that is cut into patches."""

from math import isqrt
from typing import Final

from aaclip_kit import UserError

MOST_PATCHES: Final = 1 << 14
"""Patches of an image: sixteen times those of the published size."""


def check_side(side: int, patch: int) -> None:
    """Raise `UserError` where a side is no whole number of patches (both in pixels), or one of too many."""
    where = "backbone.image_size"
    if side % patch:
        below = side // patch * patch
        near = f"the nearest sizes are {below} and {below + patch}" if below else f"the nearest size is {patch}"
        raise UserError(f"{side} pixels are not a whole number of patches of {patch}", where=where, fix=near)
    if (side // patch) ** 2 > MOST_PATCHES:
        problem = f"{side} pixels are {(side // patch) ** 2:,} patches of {patch}"
        fix = f"give at most {isqrt(MOST_PATCHES) * patch}: beyond that, attention takes hours an image"
        raise UserError(problem, where=where, fix=fix)
