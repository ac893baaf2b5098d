"""Annotations in Label Studio's JSON export: polygons, rectangles, ellipses, brush masks and bitmasks."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from jaxtyping import Bool
from pydantic import Field

from ..contracts.data import IMAGE_SUFFIXES
from ..contracts.errors import UserError
from ..data.decode import open_alpha
from .annotated import NO_LABEL, Annotated, Annotations, Mark, Tally
from .entries import DAMAGED, Entry, checked, from_base64
from .runs import from_brush
from .shapes import Patch, Undrawable, box, ellipse, outline, turned

_WORDS: Final = ("labels", "choices", "textarea", "rating", "number", "datetime", "taxonomy", "pairwise", "relation")
"""Results that are no regions of an image."""

_UPLOADED: Final = re.compile(r"(.*/)?[0-9a-f]{8}-(?P<name>[^/]+)")
"""The name that Label Studio gives to a file that is uploaded."""

OTHER_RESULTS: Final = "answers that mark nothing (choices, texts and the like) are not read"
CANCELLED: Final = "annotations were skipped by their annotators, and are not read"


class _Task(Entry):
    id: int | str | None = None
    data: dict[str, Any]
    annotations: list[Any]


class _Annotation(Entry):
    id: int | str | None = None
    was_cancelled: bool | None = False
    result: list[Any]


class _Result(Entry):
    id: str | None = None
    type: str
    value: dict[str, Any] = Field(default={})
    original_width: int | None = None
    original_height: int | None = None
    image_rotation: float | None = 0.0


class _Polygon(Entry):
    points: list[tuple[float, float]]


class _Rectangle(Entry):
    x: float
    y: float
    width: float
    height: float
    rotation: float = 0.0


class _Ellipse(Entry):
    x: float
    y: float
    radiusX: float
    radiusY: float
    rotation: float = 0.0


class _Brush(Entry):
    format: str
    rle: list[int]


class _Bitmask(Entry):
    imageDataURL: str


def read_label_studio(file: Path, content: list[Any]) -> Annotations:
    """What Label Studio's export says. Raises `UserError` for a task that is none of its JSON, as in JSON-MIN."""
    found = Annotations("Label Studio", [])
    for number, value in enumerate(content):
        where = f"{file}, task [{number}]"
        if isinstance(value, dict) and "annotations" not in value:
            fix = "export it as JSON; JSON-MIN, CSV and predictions alone are not read"
            raise UserError('it has no "annotations"', where=where, fix=fix)
        task = checked(_Task, value, where)
        where = where if task.id is None else f"{file}, task {task.id}"
        try:
            names = _image_names(task.data, where)
        except UserError as fault:
            found.faults.append(fault)
            continue
        found.annotated += list(_annotated(task, names, where, found.tally))
    return found


def _annotated(task: _Task, names: tuple[str, ...], where: str, tally: Tally) -> Iterator[Annotated]:
    """Each annotator's word on a task's image; that nobody has annotated it where there is none."""
    is_done = False
    for number, value in enumerate(task.annotations):
        place = f"{where}, annotations[{number}]"
        one = checked(_Annotation, value, place)
        if one.was_cancelled:
            tally.add(CANCELLED, place)
            continue
        is_done = True
        yield _annotation(one, names, place, tally)
    if not is_done:
        yield Annotated(where, names, None, None)


def _annotation(one: _Annotation, names: tuple[str, ...], where: str, tally: Tally) -> Annotated:
    made = Annotated(where, names, None, marks := [])
    results: list[tuple[str, _Result]] = []
    for number, value in enumerate(one.result):
        try:
            place = f"{where}.result[{number}]"
            results.append((place, checked(_Result, value, place)))
        except UserError as fault:
            made.faults.append(fault)
    labels = {of.id: of.value.get("labels") for _, of in results if of.type == "labels" and of.id is not None}
    for place, of in results:
        if of.type in _WORDS:
            if of.type != "labels":
                tally.add(OTHER_RESULTS, place)
            continue
        try:
            draw = _drawing(of, place)
            _set_size(made, of, place)
            given = of.value.get(of.type, labels.get(of.id or ""))
            marks += [Mark(label, place, draw) for label in _texts(given) or [NO_LABEL]]
        except UserError as fault:
            made.faults.append(fault)
    return made


def _texts(labels: Any) -> list[str]:
    return [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []


def _set_size(made: Annotated, of: _Result, where: str) -> None:
    """Take over the size of the image that a region is drawn on. Raises `UserError` where it was turned, or differs."""
    if (of.image_rotation or 0) % 360:
        fix = "turn the image itself, and annotate it anew"
        raise UserError("it is drawn on an image that was turned in Label Studio", where=where, fix=fix)
    if of.original_width is None or of.original_height is None:
        return
    size = (of.original_width, of.original_height)
    if made.size not in (None, size):
        raise UserError("regions of one image state two sizes of it", where=where, fix=DAMAGED)
    made.size = size


def _drawing(of: _Result, where: str) -> Callable[[int, int], Patch]:
    """How a region is drawn. Raises `UserError` for one that is damaged, has no area or is of a kind not read."""
    kind, where = of.type.removesuffix("labels"), f"{where}.value"
    if kind == "polygon":
        return partial(_draw_polygon, np.array(checked(_Polygon, of.value, where).points, float).reshape(-1, 2))
    if kind == "rectangle":
        return partial(_draw_rectangle, checked(_Rectangle, of.value, where))
    if kind == "ellipse":
        return partial(_draw_ellipse, checked(_Ellipse, of.value, where))
    if kind == "brush":
        brush = checked(_Brush, of.value, where)
        if brush.format != "rle" or not all(0 <= value < 256 for value in brush.rle):
            raise UserError("a brush mask is no RLE of bytes", where=where, fix=DAMAGED)
        return partial(_draw_brush, bytes(brush.rle))
    if kind == "bitmask":
        return partial(_draw_bitmask, _shown(checked(_Bitmask, of.value, where).imageDataURL, where))
    fix = "mark it with a polygon, a rectangle, an ellipse, a brush or a bitmask, or delete it"
    raise UserError(f"a region of the kind {of.type!r} is not read", where=where, fix=fix)


def _draw_polygon(shares: np.ndarray, width: int, height: int) -> Patch:
    return outline(shares * (width / 100, height / 100), width, height)


def _draw_rectangle(value: _Rectangle, width: int, height: int) -> Patch:
    """A rectangle turned about its upper left corner."""
    x, y = value.x * width / 100, value.y * height / 100
    corners = box(x, y, value.width * width / 100, value.height * height / 100)
    return outline(turned(corners, (x, y), value.rotation), width, height)


def _draw_ellipse(value: _Ellipse, width: int, height: int) -> Patch:
    """An ellipse turned about its middle."""
    x, y = value.x * width / 100, value.y * height / 100
    corners = ellipse(x, y, value.radiusX * width / 100, value.radiusY * height / 100)
    return outline(turned(corners, (x, y), value.rotation), width, height)


def _draw_brush(rle: bytes, width: int, height: int) -> Patch:
    return Patch(0, 0, from_brush(rle, width, height))


def _shown(address: str, where: str) -> Bool[np.ndarray, "h w"]:
    """What is not wholly transparent in a PNG that a bitmask's address holds. Raises `UserError`."""
    head, _, text = address.partition(",")
    if head != "data:image/png;base64":
        raise UserError("its bitmask is no PNG in base64", where=where, fix=DAMAGED)
    return open_alpha(Path(where), from_base64(text, where))


def _draw_bitmask(shown: Bool[np.ndarray, "h w"], width: int, height: int) -> Patch:
    if shown.shape != (height, width):
        size = f"{shown.shape[1]} x {shown.shape[0]}"
        raise Undrawable(f"its bitmask is of {size} pixels, and the image of {width} x {height}")
    return Patch(0, 0, shown)


def _image_names(data: dict[str, Any], where: str) -> tuple[str, ...]:
    """What a task's image may be called: the path in its address, and the name that its file had before its upload."""
    paths = {key: _path(value) for key, value in data.items() if isinstance(value, str)}
    images = {key: path for key, path in paths.items() if path.lower().endswith(tuple(IMAGE_SUFFIXES))}
    if len(images) != 1 and "image" not in images:
        problem = f'its data name {len(images) or "no"} images, and none of them as "image"'
        raise UserError(problem, where=where, fix="export tasks of one image each")
    path = images.get("image") or next(iter(images.values()))
    uploaded = _UPLOADED.fullmatch(path)
    return (path, uploaded["name"]) if uploaded else (path,)


def _path(address: str) -> str:
    """The path in an address: of a store, of Label Studio's own uploads, or of files on its disk."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return address
    if not (parts.scheme and parts.netloc) and not address.startswith("/data/"):
        return address
    return parse_qs(parts.query).get("d", [""])[0] or unquote(parts.path)
