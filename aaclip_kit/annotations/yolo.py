"""Annotations in YOLO's segment files: a text for each image, a line for each outline, in shares of its sides."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import yaml

from ..contracts.errors import UserError
from ..files.plain_file import read_text
from .annotated import Annotated, Annotations, Mark
from .named_images import search_files
from .shapes import Patch, Points, outline

_CLASSES: Final = "classes.txt"
"""Names of the classes, one a line, the first that of class 0."""

_DATA: Final = "data.yaml"
"""What training with YOLO reads: its `names` are those of the classes, a list or by number."""

_MOST_BYTES: Final = 16 << 20
_SLACK: Final = 0.01
"""Share of a side by which an outline may miss the image's edge; beyond it the numbers are no shares."""


def read_yolo(folder: Path) -> Annotations:
    """What YOLO's files below a folder say. Raises `UserError` for one that is no text."""
    files = search_files(folder, ".txt")
    listed = [file for file in files if file.name == _CLASSES]
    names = _names(folder / _DATA, listed)
    found = Annotations("YOLO", [], without_ending=True)
    for file in files:
        if file not in listed:
            name = file.relative_to(folder).with_suffix("").as_posix()
            found.annotated.append(_read(file, name, names))
    return found


def _names(data: Path, listed: list[Path]) -> dict[int, str]:
    """Names of classes by number. Raises `UserError` where two files give different ones."""
    given = {file: dict(enumerate(line.strip() for line in _lines(file))) for file in listed}
    if data.is_file():
        given[data] = _names_in(data)
    files, names = list(given), list(given.values())
    for file, other in zip(files, names, strict=True):
        if other != names[0]:
            problem = f"it names the classes otherwise than {files[0]}"
            raise UserError(problem, where=str(file), fix="keep the one that the annotations were made with")
    return names[0] if names else {}


def _names_in(file: Path) -> dict[int, str]:
    """The `names` of a `data.yaml`. Raises `UserError`."""
    fix = "write names: [scratch, dent], or give the folder without this file, and labels are numbers"
    try:
        content = yaml.safe_load(read_text(file, most=_MOST_BYTES, fix=fix))
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError("is no YAML", where=str(file), fix=fix) from None
    names = content.get("names") if isinstance(content, dict) else None
    named = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(named, dict) or not all(type(k) is int and isinstance(v, str) for k, v in named.items()):
        raise UserError('its "names" are no names of classes', where=str(file), fix=fix)
    return {number: name.strip() for number, name in named.items()}


def _lines(file: Path) -> list[str]:
    fix = "export the annotations again, or take the file away"
    return read_text(file, most=_MOST_BYTES, fix=fix).splitlines()


def _read(file: Path, name: str, names: Mapping[int, str]) -> Annotated:
    marks: list[Mark] = []
    made = Annotated(str(file), (name,), None, marks)
    for number, line in enumerate(_lines(file), start=1):
        try:
            marks += _marks(line.split(), f"{file}, line {number}", names)
        except UserError as fault:
            made.faults.append(fault)
    return made


def _marks(cells: list[str], where: str, names: Mapping[int, str]) -> Iterator[Mark]:
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
    yield Mark(names.get(number) or str(number), where, partial(_draw, _corners(cells[1:], where)))


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
