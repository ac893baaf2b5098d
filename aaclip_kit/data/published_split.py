"""The list of a published split, as a CSV of the publishers, made into lists that data set `manifest` reads."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ..contracts.errors import UserError
from ..files.plain_file import read_text
from .manifests import Row, write_manifest

COLUMNS: Final = ("object", "split", "label", "image", "mask")

_LABELS: Final = {"normal": 0, "anomaly": 1}


def write_split(root: Path, split: str) -> dict[str, list[Row]]:
    """Write a list for each part of a split beside the data, STEM_PART.jsonl such as 1cls_test.jsonl; returns the rows.

    `split` is the CSV's place below `root`. Raises `UserError` for one that is damaged, or names files that are not
    there or not below `root`.
    """
    file, parts = root / split, dict[str, list[Row]]()
    for number, row in enumerate(_rows(file), start=2):
        parts.setdefault(row["split"], []).append(_row(root, f"{file}: line {number}", row))
    for part, rows in parts.items():
        write_manifest(rows, root / f"{file.stem}_{part}.jsonl")
    return parts


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    rows = csv.DictReader(read_text(file).splitlines(), strict=True)
    try:
        if set(COLUMNS) - set(rows.fieldnames or ()):
            raise csv.Error(f"it lacks a column of {', '.join(COLUMNS)}")
        yield from rows
    except csv.Error as error:
        raise UserError(f"is no list of a split ({error})", where=str(file), fix="fetch the data again") from None


def _row(root: Path, where: str, row: dict[str, Any]) -> Row:
    label = _LABELS.get(row["label"] or "")
    if label is None or not (row["split"] or "").isalnum():
        raise UserError("says neither normal nor anomaly, or no split", where=where, fix="fetch the data again")
    found: dict[str, Any] = {"image_path": row["image"], "label": label, "class_name": row["object"]}
    if row["mask"]:
        found["mask_path"] = row["mask"]
    for key in ("image_path", "mask_path"):
        path = root / str(found.get(key, row["image"]))
        if not (path.resolve().is_relative_to(root.resolve()) and path.is_file()):
            problem = f"names {path}, which is not there or lies elsewhere"
            raise UserError(problem, where=where, fix="fetch the data again")
    return found
