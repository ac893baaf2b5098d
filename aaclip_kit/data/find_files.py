"""Files that a folder holds and files that a list names, and what a search for images passes over."""

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any, Final, TextIO, TypeVar
from unicodedata import normalize

from ..contracts.data import IMAGE_SUFFIXES
from ..contracts.errors import UserError
from ..files.plain_file import check_plain

_MOST_BYTES: Final = 256 << 20
"""Size of the largest list that is read, some two million rows."""

_MOST_FAULTS: Final = 10_000
"""Faulty rows after which a file is no list of images."""

_MOST_REASONS: Final = 8
"""Reasons that are told of what is passed over, the most frequent first."""

_NOTHING: Final = ("", "nan", "none", "null", "n/a", "<na>", "-")
"""What tables write, in either case, where a cell is empty."""

_Made = TypeVar("_Made")


@dataclass
class Search:
    """What a folder holds: files that end as images do, sorted, faults of folders, and the others with the reason."""

    images: list[Path] = field(default_factory=list)
    faults: list[UserError] = field(default_factory=list)
    left_out: list[tuple[str, Path]] = field(default_factory=list)


def search_folder(folder: Path) -> Search:
    """Search a folder to any depth, without following links; hidden files that do not end as images do are not told of.

    A folder that may not be read is a fault. A link that leads nowhere is an image by its name; reading it tells.
    """
    found = Search()
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    path = place / entry.name
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif (reason := _why_not(entry, path.relative_to(folder))) is None:
                        found.images.append(path)
                    elif reason:
                        found.left_out.append((reason, path))
        except OSError as error:
            # A disk's own folder, which nobody but the system may read.
            if place.name == "lost+found":
                found.left_out.append(("lost+found", place))
            else:
                found.faults.append(not_readable(place, error))
    found.images.sort()
    found.left_out.sort()
    return found


def not_readable(place: Path, error: OSError) -> UserError:
    """What to tell the user of a folder that the system does not let be read."""
    fix = "make it readable, or take it out of the folder that is searched"
    return UserError(f"cannot be read ({error.strerror or error})", where=str(place), fix=fix)


def _why_not(entry: os.DirEntry[str], path: Path) -> str | None:
    """Why a file is no image to a search; None for one that is, "" for what nobody would look for."""
    is_image = path.suffix.lower() in IMAGE_SUFFIXES
    if any(part.startswith(".") for part in path.parts):
        return "hidden" if is_image else ""
    with suppress(OSError):  # a link to itself
        if entry.is_symlink() and entry.is_dir():
            return "linked folders"
    return None if is_image else path.suffix.lower() or "without an ending"


def passed_over(left_out: Iterable[tuple[str, Path]]) -> tuple[str, ...]:
    """One line on what a search leaves out: how many for which reason, and the first of each; none for nothing."""
    reasons: dict[str, list[Path]] = {}
    for reason, path in left_out:
        reasons.setdefault(reason, []).append(path)
    often = sorted(reasons.items(), key=lambda item: -len(item[1]))
    if not often:
        return ()
    told = [f"{len(paths)} {reason} (such as {paths[0]})" for reason, paths in often[:_MOST_REASONS]]
    more = [f"{sum(len(paths) for _, paths in often[_MOST_REASONS:])} others"] if often[_MOST_REASONS:] else []
    return (f"passed over: {', '.join([*told, *more])}",)


@dataclass(frozen=True)
class ListRow:
    """One row of a list by key or column, its place, such as "list.csv, line 3", and what separates its cells."""

    where: str
    entry: dict[str, Any]
    separator: str = ""

    def fault(self, problem: str, fix: str) -> UserError:
        """What to tell the user of this row."""
        return UserError(problem, where=self.where, fix=fix)

    def wrong(self, key: str, wanted: str, fix: str) -> UserError:
        """What to tell the user of a cell that is not what is wanted; lists may be nested as deep as Python can go."""
        value = self.entry.get(key)
        shown = "a table or a list" if isinstance(value, dict | list) else repr(value)
        return self.fault(f'"{key}" must be {wanted}, not {shown}', fix)

    def number(self, key: str) -> Any:
        """A cell as a number, with a point or a comma, where it is one; None where it is empty; else as it is."""
        value = self.entry.get(key)
        if not isinstance(value, str):
            return None if isinstance(value, float) and isnan(value) else value
        text = self.text(key)
        with suppress(ValueError):
            return None if text is None else float(text.replace(",", "."))
        return value

    def text(self, key: str, fix: str = "correct it") -> str | None:
        """A cell's text without blanks around it; None where it is missing, empty, or NaN. Raises `UserError`."""
        value = self.entry.get(key)
        if value is None or (isinstance(value, float) and isnan(value)):
            return None
        if not isinstance(value, str):
            raise self.wrong(key, "a text", fix)
        text = value.strip()
        if key == "class_name":
            # Some systems take letters apart, and others do not.
            text = normalize("NFC", text)
            if not text.isprintable():
                raise self.fault(f'"{key}" holds a character that cannot be shown: {value!r}', fix)
        return None if text.lower() in _NOTHING else text

    def check_whole(self, key: str, root: Path) -> None:
        """Raise `UserError` where a separator within a path that has no quotes has put its end into the next cells."""
        cells = [str(cell or "") for cell in self.entry.values()]
        start = list(self.entry).index(key) if self.separator and key in self.entry else len(cells)
        if start >= len(cells) or _is_there(root / cells[start].strip()):
            return
        for end in range(start + 2, len(cells) + 1):
            text = self.separator.join(cells[start:end]).strip()
            if _is_there(root / text):
                problem = f'"{key}" ends at the {self.separator!r} in {text}'
                raise self.fault(problem, f'put quotes around the path: "{text}"')

    def file(self, key: str, root: Path) -> Path:
        """The file that a key names, by its path below `root`, in which a backslash may stand for a slash.

        Raises `UserError` where it names none, or one that is not there, or not below `root` with links followed.
        """
        if (text := self.text(key)) is None:
            raise self.fault(f'"{key}" is missing', "give its path")
        try:
            # As it stands, first: a name may begin or end with a blank, and hold a backslash.
            paths = [root / name for name in (self.entry[key], text, text.replace("\\", "/"))]
            path = next((path for path in paths if path.is_file()), paths[1])
            inside, there = path.resolve().is_relative_to(root.resolve()), path.is_file()
        except PermissionError as error:
            raise self.fault(f'"{key}": {error.filename} may not be looked at', "make its folder readable") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise self.fault(f'"{key}" is no path ({error})', "correct it") from None
        if not inside:
            fix = "put the file below the root, or set `root` (of predict: --root) to a folder that holds all of them"
            raise self.fault(f'"{key}": {path} leads outside the root {root}', fix)
        if not there:
            fix = "correct it, or set `root` (of predict: --root) to the folder that the paths start from"
            problem = f"{path} is a folder" if path.is_dir() else f"there is no file {path}"
            raise self.fault(f'"{key}": {problem}', fix)
        return path


def _is_there(path: Path) -> bool:
    with suppress(OSError, RuntimeError, ValueError):  # no path at all, or one that may not be looked at
        return path.is_file()
    return False


def read_list(
    file: Path, columns: Sequence[str], read: Callable[[ListRow], _Made]
) -> tuple[list[_Made], list[UserError]]:
    """What `read` makes of each row of a list, CSV where it ends in .csv, else JSON lines; and a fault for each other.

    A CSV must have these columns; it may be separated by semicolons or tabs. Raises `UserError` for a file that cannot
    be read, names nothing, or has too many faulty rows.
    """
    made: list[_Made] = []
    faults: list[UserError] = []
    for row in _rows(file, columns):
        try:
            if isinstance(row, UserError):
                raise row
            made.append(read(row))
        except UserError as fault:
            faults.append(fault)
            if len(faults) > _MOST_FAULTS:
                fix = f"mend its first rows; the first fault is: {faults[0].problem}"
                problem = f"more than {_MOST_FAULTS:,} rows are faulty"
                raise UserError(problem, where=str(file), fix=fix) from None
    if not (made or faults):
        raise UserError("names no image", where=str(file), fix='write one image a line, with "image_path"')
    return made, faults


def _rows(file: Path, columns: Sequence[str]) -> Iterator[ListRow | UserError]:
    is_csv = file.suffix.lower() == ".csv"
    try:
        check_plain(file, most=_MOST_BYTES, fix="name a list that can be read, in several parts if it is so large")
        # A line separator within a text of JSON ends no line, and CSV needs its own ends of lines.
        with file.open(encoding=_encoding(file), newline="" if is_csv else "\n") as text:
            yield from _csv_rows(file, text, columns) if is_csv else _json_rows(file, text)
    except UnicodeError:
        fix = "save it as text in UTF-8; a spreadsheet calls that 'CSV UTF-8'"
        raise UserError("is no text in UTF-8", where=str(file), fix=fix) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read ({reason})", where=str(file), fix="name a list that can be read") from None


def _encoding(file: Path) -> str:
    """UTF-8, or UTF-16 where the file begins with its mark, as spreadsheets and some shells write it."""
    with file.open("rb") as content:
        mark, more = content.read(2), content.read(2)
        return "utf-16" if mark in (b"\xff\xfe", b"\xfe\xff") and more != b"\0\0" else "utf-8-sig"


def _json_rows(file: Path, text: TextIO) -> Iterator[ListRow | UserError]:
    for number, line in enumerate(text, start=1):
        if not line.strip():
            continue
        where, fix = f"{file}, line {number}", "write one JSON object a line; or end a table's name in .csv"
        try:
            cells = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            yield UserError(f"is no JSON ({error})", where=where, fix=fix)
            continue
        yield ListRow(where, cells) if isinstance(cells, dict) else UserError("is no JSON object", where=where, fix=fix)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if twice := _twice([key for key, _ in pairs]):
        raise ValueError(f"the key {twice} is there twice")
    return dict(pairs)


def _twice(names: Sequence[str]) -> str:
    """The names, but for empty ones, that are there more than once."""
    return ", ".join(sorted(name for name, count in Counter(names).items() if name and count > 1))


def _csv_rows(file: Path, text: TextIO, columns: Sequence[str]) -> Iterator[ListRow | UserError]:
    head = text.readline(1 << 16)
    above = int(head.startswith("sep="))  # a line that spreadsheets want
    if not above:
        text.seek(0)
    reader = csv.DictReader(text, strict=True, delimiter=max(",;\t", key=head.count))
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        if twice := _twice(reader.fieldnames):
            problem = f"the first line names the column {twice} more than once"
            raise UserError(problem, where=f"{file}, line {above + 1}", fix="give each column a name of its own")
        if missing := set(columns) - set(reader.fieldnames):
            problem = f"the first line does not name the column {', '.join(sorted(missing))}"
            fix = f"begin with {','.join(columns)} and, if wanted, others"
            raise UserError(problem, where=f"{file}, line {above + 1}", fix=fix)
        empty = 0
        for cells in reader:
            where = f"{file}, line {above + reader.line_num}"
            beyond = cells.pop(None, ())
            if any(cell.strip() for cell in beyond):
                problem = f"has {len(cells) + len(beyond)} cells, and the first line {len(cells)}"
                fix = f"put quotes around a path or a name with {reader.reader.dialect.delimiter!r} in it"
                yield UserError(problem, where=where, fix=fix)
            elif any(cell and cell.strip() for cell in cells.values()):
                yield ListRow(where, cells, reader.reader.dialect.delimiter)
            elif (empty := empty + 1) > _MOST_FAULTS:  # spreadsheets leave some below a table
                raise UserError(f"more than {_MOST_FAULTS:,} rows are empty", where=where, fix="delete them")
    except csv.Error as error:
        where = f"{file}, line {above + reader.reader.line_num}"
        raise UserError(f"is no CSV ({error})", where=where, fix="mend it there") from None
