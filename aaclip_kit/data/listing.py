"""Image files to score: named one by one, by a folder, or by a list with a row for each."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts.data import IMAGE_SUFFIXES, is_image_file
from ..contracts.errors import UserError

LIST_SUFFIXES = (".jsonl", ".csv")
"""Endings, in lower case, of the files that are read as lists of images."""

MASKS = "ground_truth"
"""The folder of masks in the MVTec layout."""


@dataclass(frozen=True)
class Listed:
    """An image file, and its class where a list names one."""

    image: Path
    class_name: str | None = None


def list_images(paths: Sequence[Path]) -> tuple[list[Listed], list[UserError]]:
    """Every image once, in the order of the paths, and a fault for each row of a list that names none.

    Folders are searched to any depth, without hidden files and the masks below `ground_truth`. A list has the keys or
    columns "image_path", from the list's own folder, and, if wanted, "class_name"; others are passed over. Raises
    `UserError` for a path that is not there, a folder without images, and a list that cannot be read.
    """
    found: dict[Path, Listed] = {}
    faults: list[UserError] = []
    for path in paths:
        for item in _listed(path):
            if isinstance(item, UserError):
                faults.append(item)
            else:
                found.setdefault(item.image.resolve(), item)
    return list(found.values()), faults


def _listed(path: Path) -> Iterator[Listed | UserError]:
    if path.is_dir():
        yield from _in_folder(path)
    elif not path.exists():
        raise UserError("there is no such file or folder", where=str(path), fix="name images, a folder or a list")
    elif path.suffix.lower() in LIST_SUFFIXES:
        yield from _in_list(path)
    else:
        yield Listed(path)


def _in_folder(folder: Path) -> Iterator[Listed]:
    images = [path for path in sorted(folder.rglob("*")) if is_image_file(path) and _is_shown(path.relative_to(folder))]
    if not images:
        fix = f"images end in {', '.join(IMAGE_SUFFIXES)}"
        raise UserError("there is no image in this folder", where=str(folder), fix=fix)
    yield from map(Listed, images)


def _is_shown(path: Path) -> bool:
    """Neither hidden nor among the masks of the MVTec layout."""
    return not any(part.startswith(".") or part == MASKS for part in path.parts)


def _in_list(file: Path) -> Iterator[Listed | UserError]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise UserError(f"cannot be read ({reason})", where=str(file), fix="save it as text in UTF-8") from None
    rows = list(_csv_rows(file, text) if file.suffix.lower() == ".csv" else _json_rows(text))
    if not rows:
        raise UserError("names no image", where=str(file), fix='write one image a line, with "image_path"')
    for number, row in rows:
        image, name = row.get("image_path"), row.get("class_name") or None
        where = f"{file}, line {number}"
        if isinstance(image, str) and image and (name is None or isinstance(name, str)):
            yield _as_path(file.parent / image, name, where)
        else:
            fix = 'give "image_path" and, if wanted, "class_name", both texts'
            yield UserError("names no image", where=where, fix=fix)


def _as_path(image: Path, name: str | None, where: str) -> Listed | UserError:
    try:
        if image.resolve().is_file():
            return Listed(image, name)
    except (OSError, RuntimeError, ValueError) as error:
        return UserError(f'"image_path" is no path ({error})', where=where, fix="correct it")
    return UserError(f"there is no file {image}", where=where, fix="correct it: paths start from the list's own folder")


def _json_rows(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of each line; of a line that is no JSON object, nothing."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield number, row if isinstance(row, dict) else {}


def _csv_rows(file: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        where = f"{file}, line {reader.reader.line_num}"
        raise UserError(f"is no CSV ({error})", where=where, fix="mend it there") from None
