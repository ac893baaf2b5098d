"""Images to score, in folders and lists; and data sets written as lists in the published form.

Data set `manifest` reads what is written here.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import normpath
from pathlib import Path
from typing import Any, Final

from ..contracts.data import IMAGE_SUFFIXES, DataSet
from ..contracts.errors import FORMULA, UserError, writing
from .find_files import ListRow, passed_over, read_list, search_folder
from .image_file import page_of

LIST_SUFFIXES = (".jsonl", ".csv")
"""Endings, in lower case, of the files that are read and written as lists of images."""

MASKS = "ground_truth"
"""The folder of masks in the MVTec layout."""

_RESULTS: Final = ("scores.jsonl", ("heatmaps", "masks"))
"""A file of `aakit predict`, and the folders of pictures beside it."""


@dataclass(frozen=True)
class Listed:
    """An image file, and its class where a list names one."""

    image: Path
    class_name: str | None = None


def list_images(
    paths: Sequence[Path], root: Path | None = None, *, may_be_empty: bool = False
) -> tuple[list[Listed], list[UserError], tuple[str, ...]]:
    """Every image once for each class, in the order of the paths; faults of rows and folders; notes for the user.

    Folders are searched to any depth, without hidden files, the masks below `ground_truth` and pictures that `predict`
    wrote; the notes tell of what is left out. A path may name one page of a file. A list has the keys or columns
    "image_path", from `root` or the list's own folder, which no path may leave, and, if wanted, "class_name"; others
    are ignored. Raises `UserError` for a path that is not there, a folder without images, unless it `may_be_empty`,
    and a list that cannot be read.
    """
    images: dict[tuple[str, str | None], Listed] = {}
    faults: list[UserError] = []
    left_out: list[tuple[str, Path]] = []
    for path in paths:
        listed, bad = _listed(path, root, left_out, may_be_empty)
        faults += bad
        for item in listed:
            # As it is named: a link into a store of contents is a photograph of its own.
            images.setdefault((normpath(item.image.absolute()), item.class_name), item)
    return list(images.values()), faults, passed_over(left_out)


def _listed(
    path: Path, root: Path | None, left_out: list[tuple[str, Path]], may_be_empty: bool
) -> tuple[list[Listed], list[UserError]]:
    if path.is_dir():
        return _in_folder(path, left_out, may_be_empty)
    if not page_of(path)[0].is_file():
        problem = "is no plain file" if path.exists() else "there is no such file or folder"
        raise UserError(problem, where=str(path), fix="name images, a folder or a list")
    if path.suffix.lower() in LIST_SUFFIXES:
        start = path.parent if root is None else root

        def read(row: ListRow) -> Listed:
            row.check_whole("image_path", start)
            return Listed(row.file("image_path", start), row.text("class_name"))

        return read_list(path, ("image_path",), read)
    return [Listed(path)], []


def _in_folder(
    folder: Path, left_out: list[tuple[str, Path]], may_be_empty: bool
) -> tuple[list[Listed], list[UserError]]:
    found = search_folder(folder)
    results = {path.parent for _, path in found.left_out if path.name == _RESULTS[0]}
    images: list[Path] = []
    for path in found.images:
        depth = len(path.parts) - len(folder.parts) - 1
        if MASKS in path.parts[-depth - 1 : -1]:
            found.left_out.append((f"in {MASKS}", path))
        elif results and any(one.name in _RESULTS[1] and one.parent in results for one in path.parents[:depth]):
            found.left_out.append(("in results of predict", path))
        else:
            images.append(path)
    if not (images or found.faults or may_be_empty):
        fix = "; ".join([f"images end in {', '.join(IMAGE_SUFFIXES)}", *passed_over(found.left_out)])
        raise UserError("there is no image in this folder", where=str(folder), fix=fix)
    left_out += found.left_out
    return [Listed(path) for path in images], found.faults


Row = Mapping[str, Any]
KEYS = ("image_path", "label", "class_name", "mask_path", "ignore")
"""The published keys and our own "ignore", in the order of CSV columns."""


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
        row |= {"mask_path": _path(sample.mask, root, prefix)} if sample.mask else {}
        rows.append(row if sample.ignore is None else {**row, "ignore": sample.ignore})
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
    _check_utf8(rows if out.suffix.lower() == ".csv" else ())
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("x", encoding="utf-8", newline="") as file:
            try:
                file.write(text.getvalue())
                file.flush()
            except OSError:
                out.unlink()
                raise


def _check_utf8(rows: Sequence[Row]) -> None:
    """Raise `UserError` for a name that a file system may hold and text may not; JSON spells it out."""
    for value in (str(value) for row in rows for value in row.values()):
        try:
            value.encode()
        except UnicodeEncodeError:
            fix = "rename it, or end the list's name in .jsonl"
            raise UserError("has a name that is no UTF-8, which CSV cannot hold", where=value, fix=fix) from None


def _check_cells(rows: Sequence[Row], out: Path) -> None:
    """Raise `UserError` where a program for tables would compute a text: in quotes it would be another name."""
    texts = (str(row[key]) for row in rows for key in KEYS if key in row)
    if formula := next((text for text in texts if text.startswith((*FORMULA, "\t", "\r"))), None):
        fix = "rename it, name a folder above with ROOT, or write JSON lines (.jsonl)"
        raise UserError(f"a table would take {formula!r} for a formula", where=str(out), fix=fix)


def _path(file: Path, root: Path, prefix: Path) -> str:
    if not file.is_relative_to(root):
        raise UserError(f"lies outside {root}", where=str(file), fix="name the folder that holds all images and masks")
    return (prefix / file.relative_to(root)).as_posix()
