"""Lists of image files: images to score are looked up, and data sets are written in the published form.

Data set `manifest` reads what is written here.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from ..contracts.data import IMAGE_SUFFIXES, DataSet, is_image_file
from ..contracts.errors import UserError, writing

LIST_SUFFIXES = (".jsonl", ".csv")
"""Endings, in lower case, of the files that are read and written as lists of images."""

_MOST_BYTES: Final = 256 << 20
"""Size of the largest list that is read, some two million rows."""

_MOST_FAULTS: Final = 10_000
"""Faulty rows after which a file is no list of images."""

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
    images: dict[Path, Listed] = {}
    faults: list[UserError] = []
    for path in paths:
        for item in _listed(path):
            if isinstance(item, UserError):
                faults.append(item)
                if len(faults) > _MOST_FAULTS:
                    problem = f"more than {_MOST_FAULTS:,} rows are faulty"
                    raise UserError(problem, where=str(path), fix=f"mend its first rows: {faults[0].problem}")
            else:
                images.setdefault(item.image.resolve(), item)
    return list(images.values()), faults


def _listed(path: Path) -> Iterator[Listed | UserError]:
    if path.is_dir():
        yield from _in_folder(path)
    elif not path.is_file():
        problem = "is no plain file" if path.exists() else "there is no such file or folder"
        raise UserError(problem, where=str(path), fix="name images, a folder or a list")
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
    number = 0
    for number, row in _rows(file):
        image, name = row.get("image_path"), row.get("class_name") or None
        where = f"{file}, line {number}"
        if isinstance(image, str) and image and (name is None or (isinstance(name, str) and name.isprintable())):
            yield _as_path(file.parent / image, name, where)
        else:
            fix = 'give "image_path" and, if wanted, "class_name", both texts that can be shown'
            yield UserError("names no image", where=where, fix=fix)
    if not number:
        raise UserError("names no image", where=str(file), fix='write one image a line, with "image_path"')


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    is_csv = file.suffix.lower() == ".csv"
    try:
        # A line separator within a text of JSON ends no line, and CSV needs its own ends of lines.
        with file.open(encoding="utf-8-sig", newline="" if is_csv else "\n") as text:
            if file.stat().st_size > _MOST_BYTES:
                raise UserError(f"has more than {_MOST_BYTES:,} bytes", where=str(file), fix="make several of it")
            yield from _csv_rows(file, text) if is_csv else _json_rows(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no text in UTF-8"
        raise UserError(f"cannot be read ({reason})", where=str(file), fix="save it as text in UTF-8") from None


def _as_path(image: Path, name: str | None, where: str) -> Listed | UserError:
    try:
        if image.resolve().is_file():
            return Listed(image, name)
    except (OSError, RuntimeError, ValueError) as error:
        return UserError(f'"image_path" is no path ({error})', where=where, fix="correct it")
    return UserError(f"there is no file {image}", where=where, fix="correct it: paths start from the list's own folder")


def _json_rows(text: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of each line; of a line that is no JSON object, nothing."""
    for number, line in enumerate(text, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield number, row if isinstance(row, dict) else {}


def _csv_rows(file: Path, text: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        where = f"{file}, line {reader.reader.line_num}"
        raise UserError(f"is no CSV ({error})", where=where, fix="mend it there") from None


Row = Mapping[str, Any]
KEYS = ("image_path", "label", "class_name", "mask_path")
"""The published keys, in the order of CSV columns."""


def check_target(out: Path) -> None:
    """Raise `UserError` for a file that exists or ends in neither .jsonl nor .csv. Writes nothing."""
    if out.suffix.lower() not in LIST_SUFFIXES:
        raise UserError("is no name for a manifest", where=str(out), fix="end it in .jsonl or .csv")
    if out.exists():
        raise UserError("exists already", where=str(out), fix="name another file with --out")


def prefix_of(out: Path, root: Path) -> Path | None:
    """The path of `root` from the manifest's own folder, from which paths start; None where it does not lie there."""
    own, images = out.resolve().parent, root.resolve()
    return images.relative_to(own) if images.is_relative_to(own) else None


def labelled_rows(data: DataSet, root: Path, prefix: Path) -> list[Row]:
    """A row for each sample, with paths from `root` behind `prefix`, and "mask_path" where there is a mask.

    Raises `UserError` for a file that is not below `root`.
    """
    rows: list[Row] = []
    for sample in data.samples:
        row = {"image_path": _path(sample.image, root, prefix), "label": sample.label, "class_name": sample.class_name}
        rows.append({**row, "mask_path": _path(sample.mask, root, prefix)} if sample.mask else row)
    return rows


def unlabelled_rows(images: Iterable[Path], root: Path, prefix: Path) -> list[Row]:
    """A row for each image, with its path alone."""
    return [{"image_path": _path(image, root, prefix)} for image in images]


def write_manifest(rows: Sequence[Row], out: Path) -> None:
    """Write CSV where `out` ends in .csv, else JSON lines. Raises `UserError` where it exists or cannot be written."""
    check_target(out)
    text = io.StringIO()
    if out.suffix.lower() == ".csv":
        _check_cells(rows, out)
        columns = [key for key in KEYS if any(key in row for row in rows)]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(f"{json.dumps(row)}\n" for row in rows)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("x", encoding="utf-8", newline="") as file:
            try:
                file.write(text.getvalue())
                file.flush()
            except OSError:
                out.unlink()
                raise


def _check_cells(rows: Sequence[Row], out: Path) -> None:
    """Raise `UserError` where a program for tables would compute a text: in quotes it would be another name."""
    texts = (str(row[key]) for row in rows for key in KEYS if key in row)
    if formula := next((text for text in texts if text.startswith(("=", "+", "-", "@", "\t", "\r"))), None):
        fix = "rename it, name a folder above with ROOT, or write JSON lines (.jsonl)"
        raise UserError(f"a table would take {formula!r} for a formula", where=str(out), fix=fix)


def _path(file: Path, root: Path, prefix: Path) -> str:
    if not file.is_relative_to(root):
        raise UserError(f"lies outside {root}", where=str(file), fix="name the folder that holds all images and masks")
    return (prefix / file.relative_to(root)).as_posix()
