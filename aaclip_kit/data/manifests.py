"""Writing a list of images in the published form, which data set `manifest` reads."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..contracts.data import DataSet
from ..contracts.errors import UserError, not_writable

Row = Mapping[str, Any]
KEYS = ("image_path", "label", "class_name", "mask_path")
"""The published keys, in the order of CSV columns."""
_SUFFIXES = (".jsonl", ".csv")


def check_target(out: Path) -> None:
    """Raise `UserError` for a file that exists or ends in neither .jsonl nor .csv. Writes nothing."""
    if out.suffix.lower() not in _SUFFIXES:
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
    text = _csv(rows) if out.suffix.lower() == ".csv" else "".join(f"{json.dumps(row)}\n" for row in rows)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("x", encoding="utf-8", newline="") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                out.unlink()
                raise
    except OSError as error:
        raise not_writable(out, error) from None


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    columns = [key for key in KEYS if any(key in row for row in rows)]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _path(file: Path, root: Path, prefix: Path) -> str:
    if not file.is_relative_to(root):
        raise UserError(f"lies outside {root}", where=str(file), fix="name the folder that holds all images and masks")
    return (prefix / file.relative_to(root)).as_posix()
