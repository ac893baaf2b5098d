"""Annotations in COCO's JSON: outlines, and masks as lengths of runs."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from ..contracts.errors import UserError
from .annotated import Annotated, Annotations, Mark
from .entries import DAMAGED, Entry, checked
from .runs import coco_counts, from_runs
from .shapes import Patch, Points, Undrawable, outlines

Id = int | str


class _Image(Entry):
    id: Id
    file_name: str = Field(min_length=1)
    width: int
    height: int


class _Category(Entry):
    id: Id
    name: str


class _Annotation(Entry):
    image_id: Id
    category_id: Id
    segmentation: Any = None
    bbox: list[float] = Field(default=[])
    iscrowd: bool = False


class _File(Entry):
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]


class _Runs(Entry):
    size: tuple[int, int]
    """Height and width, in this order."""
    counts: str | list[int]


class _Rings(Entry):
    rings: list[list[float]]


def read_coco(file: Path, content: Any) -> Annotations:
    """What COCO's JSON says. Raises `UserError` where it names an image twice, or an image or a category is damaged."""
    whole = checked(_File, content, str(file))
    names = {one.id: one.name for one in _all(_Category, whole.categories, f"{file}, categories")}
    images: dict[Id, Annotated] = {}
    for number, image in enumerate(_all(_Image, whole.images, f"{file}, images")):
        where = f"{file}, images[{number}]"
        if image.id in images:
            raise UserError(f"another image has the id {image.id!r}", where=where, fix="give each image its own id")
        images[image.id] = Annotated(where, (image.file_name,), (image.width, image.height), [])
    found = Annotations("COCO", list(images.values()))
    for number, value in enumerate(whole.annotations):
        where = f"{file}, annotations[{number}]"
        try:
            _add(checked(_Annotation, value, where), where, images, names)
        except UserError as fault:
            of = images.get(_image_id(value))
            (of.faults if of else found.faults).append(fault)
    return found


def _all(kind: type[Any], values: list[Any], where: str) -> list[Any]:
    return [checked(kind, value, f"{where}[{number}]") for number, value in enumerate(values)]


def _image_id(value: Any) -> Id:
    key = value.get("image_id") if isinstance(value, dict) else None
    return key if isinstance(key, int | str) else ""


def _add(one: _Annotation, where: str, images: dict[Id, Annotated], names: dict[Id, str]) -> None:
    """Add an annotation to its image. Raises `UserError` for one that names no image or category, or has no outline."""
    if (image := images.get(one.image_id)) is None:
        raise UserError(f'"images" has no id {one.image_id!r}', where=where, fix=DAMAGED)
    if one.category_id not in names:
        raise UserError(f'"categories" has no id {one.category_id!r}', where=where, fix=DAMAGED)
    if not one.segmentation and any(side > 0 for side in one.bbox[2:]):
        fix = "outline it in the annotation program: what in the box is anomalous, the box does not say"
        raise UserError("it has a box and no outline", where=where, fix=fix)
    if isinstance(one.segmentation, dict):
        draw = partial(_draw_runs, checked(_Runs, one.segmentation, f"{where}, segmentation"))
    else:
        rings = checked(_Rings, {"rings": one.segmentation or []}, f"{where}, segmentation").rings
        draw = partial(outlines, [_corners(ring, where) for ring in rings])
    assert image.marks is not None
    image.marks.append(Mark(names[one.category_id], where, draw, one.iscrowd))


def _corners(ring: list[float], where: str) -> Points:
    if len(ring) % 2:
        raise UserError("an outline has an odd number of coordinates", where=where, fix=DAMAGED)
    return np.array(ring, float).reshape(-1, 2)


def _draw_runs(runs: _Runs, width: int, height: int) -> Patch:
    if runs.size != (height, width):
        raise Undrawable(f"its RLE is of {runs.size[1]} x {runs.size[0]} pixels, and the image of {width} x {height}")
    counts = coco_counts(runs.counts) if isinstance(runs.counts, str) else runs.counts
    return Patch(0, 0, from_runs(counts, width, height))
