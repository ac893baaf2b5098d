"""Annotations in YOLO's segment files: a text for each image, a line for each outline, in shares of its sides."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from ..contracts.errors import UserError
from ..files.plain_file import read_text
from .annotated import Annotated, Annotations, Mark
from .named_images import search_files
from .shapes import Patch, Points, outline

_CLASSES: Final = "classes.txt"
"""Names of the classes, one a line, the first that of class 0."""

_MOST_BYTES: Final = 16 << 20
_SLACK: Final = 0.01
"""Share of a side by which an outline may miss the image's edge; beyond it the numbers are no shares."""


def read_yolo(folder: Path) -> Annotations:
    """What YOLO's files below a folder say. Raises `UserError` for one that is no text."""
    files = search_files(folder, ".txt")
    listed = [file for file in files if file.name == _CLASSES]
    names = [line.strip() for line in _lines(listed[0])] if listed else []
    found = Annotations("YOLO", [], without_ending=True)
    for file in files:
        if file not in listed:
            name = file.relative_to(folder).with_suffix("").as_posix()
            found.annotated.append(_read(file, name, names))
    return found


def _lines(file: Path) -> list[str]:
    fix = "export the annotations again, or take the file away"
    return read_text(file, most=_MOST_BYTES, fix=fix).splitlines()


def _read(file: Path, name: str, names: list[str]) -> Annotated:
    marks: list[Mark] = []
    made = Annotated(str(file), (name,), None, marks)
    for number, line in enumerate(_lines(file), start=1):
        try:
            marks += _marks(line.split(), f"{file}, line {number}", names)
        except UserError as fault:
            made.faults.append(fault)
    return made


def _marks(cells: list[str], where: str, names: list[str]) -> Iterator[Mark]:
    """The mark of a line, none of an empty one. Raises `UserError` for what is no outline of YOLO's."""
    if not cells:
        return
    if not (cells[0].isascii() and cells[0].isdecimal() and len(cells[0]) < 10):
        fix = "write the number of the class, then x and y of each corner"
        raise UserError(f"{cells[0]!r} is no number of a class", where=where, fix=fix)
    if len(cells) == 5:
        fix = "export outlines: what in the box is anomalous, the box does not say"
        raise UserError("it has four numbers, as boxes have (or two points, which mark no area)", where=where, fix=fix)
    number = int(cells[0])
    label = names[number] if number < len(names) and names[number] else str(number)
    yield Mark(label, where, partial(_draw, _corners(cells[1:], where)))


def _corners(cells: list[str], where: str) -> Points:
    """The corners in shares of the sides. Raises `UserError`."""
    fix = "write x and y of each corner, each as a share of the image's side, from 0 to 1"
    shares = np.full(len(cells), np.nan)
    with suppress(ValueError):
        shares[:] = [float(cell) for cell in cells]
    if len(cells) % 2 or np.isnan(shares).any():
        raise UserError("behind the class are no pairs of numbers", where=where, fix=fix)
    if (np.abs(shares - 0.5) > 0.5 + _SLACK).any():
        raise UserError("a coordinate is not between 0 and 1", where=where, fix=fix)
    return shares.reshape(-1, 2)


def _draw(shares: Points, width: int, height: int) -> Patch:
    return outline(shares * (width, height), width, height)
