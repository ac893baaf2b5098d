"""Annotations in CVAT's zip "Segmentation mask": coloured masks, and labelmap.txt with the label of each colour."""

import zlib
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from jaxtyping import Int

from ..contracts.errors import UserError, in_short
from ..data.decode import open_picture
from ..files.plain_file import read_plain
from .annotated import Annotated, Annotations, Mark
from .shapes import Patch

_LABELS: Final = "labelmap.txt"
_MOST_BYTES: Final = 1 << 30
"""Size of the largest zip, and of all the masks in it, unpacked as far as PNGs."""

_LARGEST: Final = {".png": 64 << 20, ".txt": 16 << 20}
"""Bytes of the largest files that are unpacked."""

_MOST_LISTED: Final = 64 << 20
"""Bytes of the largest table of contents."""

_FIX: Final = 'export the task from CVAT as "Segmentation mask 1.1", and give that zip'


def read_cvat(file: Path) -> Annotations:
    """What CVAT's zip says; nothing is unpacked to the disk. Raises `UserError` for another zip or a damaged one."""
    content = read_plain(file, most=_MOST_BYTES, fix=_FIX)
    _check_table(file, content)
    try:
        with ZipFile(BytesIO(content)) as archive:
            return _read(file, archive)
    except (BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"cannot be read as a zip ({error})", where=str(file), fix=_FIX) from None


def _check_table(file: Path, content: bytes) -> None:
    """Raise `UserError` for a table of contents too large to be read, before anything reads it."""
    end = content.rfind(b"PK\5\6", max(len(content) - 65_557, 0))
    size = int.from_bytes(content[end + 12 : end + 16], "little") if end >= 0 else 0
    if end < 0 or size > _MOST_LISTED or b"PK\6\7" in content[max(end - 20, 0) : end]:
        raise UserError("is no zip, or one of too many files", where=str(file), fix=_FIX)


def _read(file: Path, archive: ZipFile) -> Annotations:
    members = {member.filename: member for member in archive.infolist()}
    tables = [PurePosixPath(name) for name in members if PurePosixPath(name).name == _LABELS]
    if len(tables) != 1:
        raise UserError(f"holds {len(tables) or 'no'} {_LABELS}", where=str(file), fix=_FIX)
    labels = dict(_labels(_text(file, archive, members[str(tables[0])]), f"{file}: {tables[0]}"))
    root = tables[0].parent
    masks = dict(_below(members, root / "SegmentationClass", ".png"))
    left, made = _MOST_BYTES, []
    for name, member in masks.items():
        png = _unpacked(file, archive, member, left)
        left -= len(png)
        made.append(_masked(name, png, labels, f"{file}: {member.filename}"))
    for listed in dict(_below(members, root / "ImageSets" / "Segmentation", ".txt")).values():
        # CVAT lists every image of a task, and makes masks for those on which something is drawn.
        names = dict.fromkeys(line.strip() for line in _text(file, archive, listed).splitlines())
        where = f"{file}: {listed.filename}"
        made += [Annotated(where, (name,), None, []) for name in names if name and name not in masks]
    return Annotations("CVAT", made, without_ending=True)


def _below(members: dict[str, ZipInfo], folder: PurePosixPath, ending: str) -> Iterator[tuple[str, ZipInfo]]:
    """Files of a folder in the zip, by their names below it without the ending."""
    for name, member in members.items():
        path = PurePosixPath(name)
        if path.is_relative_to(folder) and path.suffix.lower() == ending:
            yield path.relative_to(folder).with_suffix("").as_posix(), member


def _unpacked(file: Path, archive: ZipFile, member: ZipInfo, most: int = _MOST_BYTES) -> bytes:
    """A file in the zip, read no further than it may be large whatever the zip says. Raises `UserError`."""
    most = min(most, _LARGEST[PurePosixPath(member.filename).suffix.lower()])
    with archive.open(member) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise UserError(f"{member.filename} unpacks to too many bytes", where=str(file), fix=_FIX)
    return content


def _text(file: Path, archive: ZipFile, member: ZipInfo) -> str:
    try:
        return _unpacked(file, archive, member).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("is no text in UTF-8", where=f"{file}: {member.filename}", fix=_FIX) from None


def _labels(text: str, where: str) -> Iterator[tuple[int, str]]:
    """Label and colour of each line: `label:red,green,blue:parts:actions`. Raises `UserError`."""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        label, *cells = line.rsplit(":", 3)
        colour = cells[0].split(",") if len(cells) == 3 else []
        values = [int(value) for value in colour if value.strip().isdecimal() and len(value) < 5]
        if len(values) != 3 or len(colour) != 3 or max(values) > 255:
            raise UserError("names no label and colour", where=f"{where}, line {number}", fix=_FIX)
        yield values[0] << 16 | values[1] << 8 | values[2], label


def _masked(name: str, png: bytes, labels: dict[int, str], where: str) -> Annotated:
    """One image's mask: a mark for each label, but for the background's."""
    made = Annotated(where, (name,), None, marks := [])
    try:
        colours = _colours(png, where)
        found = np.unique(colours)
        if unknown := [f"#{colour:06x}" for colour in found.tolist() if colour not in labels and colour]:
            fix = "export it again with the labels that it was drawn with"
            raise UserError(f"{_LABELS} has no label of the colour {in_short(unknown)}", where=where, fix=fix)
    except UserError as fault:
        made.faults.append(fault)
        return made
    made.size = (colours.shape[1], colours.shape[0])
    for colour in found.tolist():
        if (label := labels.get(colour, "background")) != "background":
            marks.append(Mark(label, where, partial(_draw, png, where, colour)))
    return made


def _colours(png: bytes, where: str) -> Int[np.ndarray, "h w"]:
    red, green, blue = np.moveaxis(np.asarray(open_picture(Path(where), png)).astype(np.int32), 2, 0)
    return red << 16 | green << 8 | blue


def _draw(png: bytes, where: str, colour: int, width: int, height: int) -> Patch:
    return Patch(0, 0, _colours(png, where) == colour)
