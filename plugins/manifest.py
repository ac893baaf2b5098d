"""The data set `manifest`: own images listed in a file, one a row, as JSON lines or CSV, each row checked."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from pydantic import Field

from aaclip_kit import DataSet, Domain, Register, Sample, UserError, UserErrors, hookimpl

from .folder import ClassOptions, DataPath, unknown_classes

_MOST_BYTES: Final = 256 << 20
"""Size of the largest manifest that is read, some two million rows."""

_MOST_FAULTS: Final = 10_000
"""Faulty rows after which a file is no manifest."""


class ManifestOptions(ClassOptions):
    """Images listed as JSON lines, the published form, or as CSV."""

    manifest: DataPath = Field(
        description='JSON lines, or CSV where it ends in .csv, with "image_path", "label" (0 or 1), "class_name" and, '
        'where anomalous and there is one, "mask_path"; "ignore" may name a value of the mask that is left out'
    )
    root: DataPath | None = Field(
        None, description="folder that the paths start from and may not leave; by default the manifest's own"
    )


def read_manifest(options: ManifestOptions) -> DataSet:
    """The manifest's samples; faulty rows are faults of the data set. Raises `UserError` as `read_rows` does."""
    file = options.manifest.expanduser()
    root = options.root.expanduser() if options.root else file.parent
    return read_rows(file, root, options.classes, options.real_names, options.domain)


@dataclass(frozen=True)
class _Row:
    """One entry and its place, such as "list.csv, line 3"."""

    where: str
    entry: dict[str, Any]

    def fault(self, problem: str, fix: str) -> UserError:
        return UserError(problem, where=self.where, fix=fix)


_Entries = list[tuple[_Row, Sample]]


def read_rows(
    file: Path,
    root: Path,
    classes: Sequence[str] | None,
    real_names: dict[str, str],
    domain: Domain = "industrial",
    name: str | None = None,
) -> DataSet:
    """The samples of a manifest, sorted by class and image; `file` is CSV where it ends in .csv, else JSON lines.

    Each row that cannot be used is a fault of the data set, with its line: a key missing or wrong, a file that is not
    there or lies outside `root`, the image of an earlier row, an anomalous image without a mask where its class has
    masks. Rows of classes that are not read are not checked. Raises `UserError` for a file that cannot be read or
    names no image, and for unknown classes.
    """
    known, entries, faults = _checked(file, root, classes)
    if unknown := unknown_classes([*(classes or ()), *real_names], sorted(known), str(file)):
        raise UserErrors([*unknown, *faults])
    if not (entries or faults):
        raise UserError("the manifest names no image", where=str(file), fix="list one image a line")
    entries, repeated = _without_repeated(entries)
    entries, bare = _without_bare(entries)
    samples = sorted((sample for _, sample in entries), key=lambda sample: (sample.class_name, str(sample.image)))
    chosen = sorted(known if classes is None else known.intersection(classes))
    names = {class_name: real_names.get(class_name, class_name.replace("_", " ")) for class_name in chosen}
    return DataSet(tuple(samples), names, domain, name, (*faults, *repeated, *bare))


def _checked(file: Path, root: Path, classes: Sequence[str] | None) -> tuple[set[str], _Entries, list[UserError]]:
    """Every class that is named, rows with their samples, and what is wrong with the other rows."""
    known: set[str] = set()
    entries: _Entries = []
    faults: list[UserError] = []
    for row in _rows(file):
        try:
            if isinstance(row, UserError):
                raise row
            class_name = _text(row, "class_name", 'name the image\'s class, such as "candle"')
            known.add(class_name)
            if classes is None or class_name in classes:
                entries.append((row, _sample(row, class_name, root)))
        except UserError as fault:
            faults.append(fault)
            if len(faults) > _MOST_FAULTS:
                fix = f"mend its first rows; the first fault is: {faults[0].problem}"
                problem = f"more than {_MOST_FAULTS:,} rows are faulty"
                raise UserError(problem, where=str(file), fix=fix) from None
    return known, entries, faults


def _rows(file: Path) -> Iterator[_Row | UserError]:
    is_csv = file.suffix.lower() == ".csv"
    try:
        # A pipe would be waited for, and a device has no end.
        if file.exists() and not (file.is_file() or file.is_dir()):
            raise UserError("is no plain file", where=str(file), fix="correct `manifest`")
        # A line separator within a text of JSON ends no line, and CSV needs its own ends of lines.
        with file.open(encoding="utf-8-sig", newline="" if is_csv else "\n") as text:
            if file.stat().st_size > _MOST_BYTES:
                raise UserError(f"has more than {_MOST_BYTES:,} bytes", where=str(file), fix="split the data set")
            yield from _csv_rows(file, text) if is_csv else _json_rows(file, text)
    except UnicodeDecodeError:
        fix = "save it as JSON lines or CSV in UTF-8"
        raise UserError("is no text in UTF-8", where=str(file), fix=fix) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read ({reason})", where=str(file), fix="correct `manifest`") from None


def _json_rows(file: Path, text: TextIO) -> Iterator[_Row | UserError]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        where, fix = f"{file}, line {number}", "write one JSON object a line"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield UserError(f"is no JSON ({error})", where=where, fix=fix)
            continue
        yield _Row(where, entry) if isinstance(entry, dict) else UserError("is no JSON object", where=where, fix=fix)


def _csv_rows(file: Path, text: TextIO) -> Iterator[_Row | UserError]:
    reader = csv.DictReader(text, strict=True)
    try:
        if missing := {"image_path", "label", "class_name"} - set(reader.fieldnames or ()):
            problem = f"the first line does not name the column {', '.join(sorted(missing))}"
            fix = "begin with image_path,label,class_name,mask_path, separated by commas"
            raise UserError(problem, where=f"{file}, line 1", fix=fix)
        for entry in reader:
            where = f"{file}, line {reader.line_num}"
            if None in entry:
                yield UserError("has more cells than the first line", where=where, fix="put quotes around a comma")
            else:
                yield _Row(where, {**entry, "label": _number(entry["label"])})
    except csv.Error as error:
        where = f"{file}, line {reader.reader.line_num}"
        raise UserError(f"is no CSV ({error})", where=where, fix="mend it there") from None


def _number(text: str | None) -> Any:
    """The cell as a number, or as it is."""
    try:
        return float(text or "")
    except ValueError:
        return text


def _sample(row: _Row, class_name: str, root: Path) -> Sample:
    label = row.entry.get("label")
    if isinstance(label, bool) or label not in (0, 1):
        problem = "is missing" if label in (None, "") else f"must be 0 or 1, not {_shown(label)}"
        raise row.fault(f'"label" {problem}', "write 0 for a normal image, 1 for an anomalous one")
    image = _file(row, "image_path", root)
    if label == 0:
        return Sample(image, class_name, 0)
    masked = row.entry.get("mask_path") not in (None, "")
    return Sample(image, class_name, 1, _file(row, "mask_path", root) if masked else None, ignore=_ignored(row))


def _ignored(row: _Row) -> int | None:
    """The value of the mask that metrics and losses leave out, None for none."""
    value = row.entry.get("ignore")
    value = _number(value) if isinstance(value, str) else value
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 65535 or value % 1:
        raise row.fault(f'"ignore" must be a whole number from 1 to 65535, not {_shown(value)}', "such as 255, or none")
    return int(value)


def _text(row: _Row, key: str, fix: str) -> str:
    value = row.entry.get(key)
    if isinstance(value, str) and value:
        if key == "class_name" and not value.isprintable():
            raise row.fault(f'"{key}" holds a character that cannot be shown: {value!r}', fix)
        return value
    problem = "is missing" if value in (None, "") else f"must be a text, not {_shown(value)}"
    raise row.fault(f'"{key}" {problem}', fix)


def _shown(value: Any) -> str:
    """A faulty value in a message; lists may be nested as deep as Python can go."""
    return "a table or a list" if isinstance(value, dict | list) else repr(value)


def _file(row: _Row, key: str, root: Path) -> Path:
    """The file that a key names. Raises `UserError` where it is not there, or not below `root` with links followed."""
    path = root / _text(row, key, "give its path")
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        there = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        raise row.fault(f'"{key}" is no path ({error})', "correct it") from None
    if not inside:
        fix = "put the file below the root, or set `root` to a folder that holds all of them"
        raise row.fault(f'"{key}": {path} leads outside the root {root}', fix)
    if not there:
        fix = "correct it, or set `root` to the folder that the paths start from"
        raise row.fault(f'"{key}": there is no file {path}', fix)
    return path


def _without_repeated(entries: _Entries) -> tuple[_Entries, list[UserError]]:
    """Rows whose image no earlier row names, and a fault for each of the others."""
    first: dict[Path, _Row] = {}
    good, faults = [], []
    for row, sample in entries:
        earlier = first.setdefault(sample.image.resolve(), row)
        if earlier is row:
            good.append((row, sample))
        else:
            problem = f'"image_path": {sample.image} has a row already, {earlier.where.rpartition(", ")[2]}'
            faults.append(row.fault(problem, "keep one of the two rows"))
    return good, faults


def _without_bare(entries: _Entries) -> tuple[_Entries, list[UserError]]:
    """Rows but for anomalous images without a mask where others of their class have one; a fault for each of these."""
    masked = {sample.class_name for _, sample in entries if sample.mask}
    fix = "name its mask, or leave out those of the whole class for image-level results only"
    good, faults = [], []
    for row, sample in entries:
        if sample.label and sample.mask is None and sample.class_name in masked:
            faults.append(row.fault('"mask_path" is missing, and other images of its class have one', fix))
        else:
            good.append((row, sample))
    return good, faults


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `manifest`."""
    register("manifest", read_manifest, ManifestOptions)
