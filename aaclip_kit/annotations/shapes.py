"""Outlines drawn as pixels: a pixel is inside where its middle is, by the even-odd rule."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

_FARTHEST: Final = 1e7
"""Pixels from the image's corner beyond which a coordinate is none."""

_MOST_CROSSINGS: Final = 50_000_000
"""Places where an outline may cross the middles of rows; a circle of the largest image has 20,000."""

_BEYOND: Final = 2.0
"""Pixels that a hand may miss the image's edge by."""

BEYOND: Final = "marks reach beyond their image by more than two pixels, and are cut off there"
OVERLAPPING: Final = (
    "annotations have outlines that overlap or lie within one another: all of them are filled, as COCO has it, "
    "which knows no holes in outlines (a mask as RLE does)"
)

Points = Float[np.ndarray, "n 2"]
"""Corners of an outline, (x, y) in pixels; pixel i reaches from i to i + 1."""


class Undrawable(ValueError):
    """What is no mark; its text says why."""


class Patch(NamedTuple):
    """The marked pixels in a part of an image, its place, and remarks on how they came about."""

    top: int
    left: int
    marked: Bool[np.ndarray, "h w"]
    remarks: tuple[str, ...] = ()


def outlines(rings: Sequence[Points], width: int, height: int) -> Patch:
    """The pixels within any of several outlines; raises `Undrawable`."""
    patches = [outline(points, width, height) for points in rings]
    if len(patches) == 1:
        return patches[0]
    counts = np.zeros((height, width), np.uint16)
    for top, left, marked, _ in patches:
        counts[top : top + marked.shape[0], left : left + marked.shape[1]] += marked
    remarks = dict.fromkeys(remark for patch in patches for remark in patch.remarks)
    if (counts > 1).any():
        remarks[OVERLAPPING] = None
    return Patch(0, 0, counts > 0, tuple(remarks))


def outline(points: Points, width: int, height: int) -> Patch:
    """The pixels within one outline, which closes itself; raises `Undrawable`. Of fewer than three corners: none."""
    if not (np.abs(points) <= _FARTHEST).all():
        raise Undrawable("a corner of it is no place, or lies far outside of the image")
    if len(points) < 3:
        return Patch(0, 0, np.zeros((0, 0), bool))
    low, high = points.min(axis=0), points.max(axis=0)
    remarks = (BEYOND,) if (low < -_BEYOND).any() or (high > np.array([width, height]) + _BEYOND).any() else ()
    left, top = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    rows, columns = _crossings(points, top, bottom)
    toggles = np.zeros((bottom - top, right - left + 1), np.uint8)
    np.add.at(toggles, (rows - top, np.clip(columns, left, right) - left), 1)
    # Sums of eight bits keep whether they are odd.
    inside = np.cumsum(toggles[:, :-1], axis=1, dtype=np.uint8) & 1
    return Patch(top, left, inside.view(bool), remarks)


def _crossings(points: Points, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose middle the outline crosses, and for each the first column whose middle lies at or behind that."""
    x, y = points.T
    to_x, to_y = np.roll(points, -1, axis=0).T
    first, last = (np.clip(np.ceil(ys - 0.5), top, bottom).astype(int) for ys in np.sort([y, to_y], axis=0))
    counts = last - first
    if counts.sum() > _MOST_CROSSINGS:
        raise Undrawable("its outline has too many corners")
    edge = np.repeat(np.arange(len(points)), counts)
    rows = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    share = (rows + 0.5 - y[edge]) / (to_y - y)[edge]
    return rows, np.ceil(x[edge] + share * (to_x - x)[edge] - 0.5).astype(int)


def box(x: float, y: float, width: float, height: float) -> Points:
    """The corners of a rectangle whose upper left corner is (x, y)."""
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], float)


def ellipse(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    """Corners of an ellipse around (x, y), so many that none is off by a hundredth of a pixel in the largest image."""
    angles = np.linspace(0, 2 * np.pi, 2880, endpoint=False)
    return np.stack([x + radius_x * np.cos(angles), y + radius_y * np.sin(angles)], axis=1)


def turned(points: Points, about: tuple[float, float], degrees: float) -> Points:
    """The corners turned clockwise on the screen, where y grows downwards."""
    angle = np.deg2rad(degrees)
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    return (points - about) @ turn + about
