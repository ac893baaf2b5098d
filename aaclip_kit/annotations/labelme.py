"""Annotations in LabelMe's JSON files, one for each image: outlines, rectangles, circles and small masks."""

from functools import partial
from math import dist
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Float

from ..contracts.errors import UserError
from ..data.decode import open_mask
from ..files.plain_file import read_json
from .annotated import Annotated, Annotations, Mark
from .entries import DAMAGED, Entry, checked, from_base64
from .named_images import search_files
from .shapes import BEYOND, Patch, Points, Undrawable, box, ellipse, outline

_POINTS = {"rectangle": (2, 4), "circle": (2,), "mask": (2,), "oriented_rectangle": (4,)}
"""How many points shapes have that have not any number of them."""


class _File(Entry):
    imagePath: str
    imageWidth: int | None = None
    imageHeight: int | None = None
    shapes: list[Any]


class _Shape(Entry):
    label: str
    points: list[tuple[float, float]]
    shape_type: str | None = "polygon"
    """Files of old versions have none, and their shapes are polygons."""
    mask: str | None = None


def read_labelme(place: Path) -> Annotations:
    """What a LabelMe file says, or all below a folder. Raises `UserError` for a file that is none of LabelMe's."""
    files = search_files(place, ".json") if place.is_dir() else [place]
    root = place if place.is_dir() else place.parent
    return Annotations("LabelMe", [_read(file, file.parent.relative_to(root).as_posix()) for file in files])


def _read(file: Path, folder: str) -> Annotated:
    content = read_json(file, fix="export the annotations again, or take the file away")
    whole = checked(_File, content, str(file))
    name = whole.imagePath.replace("\\", "/")
    size = None if whole.imageWidth is None or whole.imageHeight is None else (whole.imageWidth, whole.imageHeight)
    made = Annotated(str(file), ((PurePosixPath(folder) / name).as_posix(), name), size, marks := [])
    for number, value in enumerate(whole.shapes):
        where = f"{file}, shapes[{number}]"
        try:
            marks.append(_mark(checked(_Shape, value, where), where))
        except UserError as fault:
            made.faults.append(fault)
    return made


def _mark(shape: _Shape, where: str) -> Mark:
    """A shape's mark. Raises `UserError` for one that has no area, such as a line, and for a wrong number of points."""
    kind, points = shape.shape_type or "polygon", np.array(shape.points, float).reshape(-1, 2)
    if kind != "polygon" and kind not in _POINTS:
        fix = "outline as a polygon what it marks, or delete it"
        raise UserError(f"a shape of the kind {kind!r} marks no area", where=where, fix=fix)
    if len(points) not in _POINTS.get(kind, (len(points),)):
        raise UserError(f"a {kind} has no {len(points)} points", where=where, fix=DAMAGED)
    if kind == "mask":
        return Mark(shape.label, where, partial(_draw_mask, _marked(shape.mask, where), points))
    return Mark(shape.label, where, partial(outline, _corners(kind, points)))


def _corners(kind: str, points: Points) -> Float[np.ndarray, "corners 2"]:
    if kind == "circle":
        (x, y), on = points.tolist()
        return ellipse(x, y, *[dist((x, y), on)] * 2)
    if kind == "rectangle" and len(points) == 2:
        (x, y), (to_x, to_y) = points.tolist()
        return box(x, y, to_x - x, to_y - y)
    return points


def _marked(text: str | None, where: str) -> np.ndarray:
    """The small mask that a shape brings along, as a PNG in base64."""
    content = from_base64(text or "", f'{where}, "mask"')
    return open_mask(Path(f'{where}, "mask"'), None, content).marks > 0


def _draw_mask(marked: np.ndarray, points: Points, width: int, height: int) -> Patch:
    """A small mask at its place, without what lies outside of the image. Raises `Undrawable`."""
    (left, top), (right, low) = np.round([points.min(axis=0), points.max(axis=0)]).tolist()
    if marked.shape != (low - top + 1, right - left + 1):
        raise Undrawable(f"its mask is {marked.shape[1]} x {marked.shape[0]} pixels, and its box is not")
    top, left = int(top), int(left)
    inside = marked[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    return Patch(max(top, 0), max(left, 0), inside, () if inside.shape == marked.shape else (BEYOND,))
