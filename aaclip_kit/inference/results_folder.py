"""The folder that `aakit predict` writes: claimed, filled line by line, there as a whole or, going on, bit by bit."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ..contracts.errors import UserError, not_writable, writing
from ..data.image_file import page_of
from ..distributed.collectives import Lost, all_gather_object, barrier
from ..distributed.ranks import Ranks
from ..files.lock import LOCK, locked
from ..files.plain_file import read_json
from ..files.whole_file import beside, is_leftover, remove_leftovers, remove_whole, write_whole
from ..record.run_folder import made_folder
from .arrivals import state_of

SCORES, TABLE, SHEET = "scores.jsonl", "scores.csv", "index.html"
SKIPPED, SETTINGS = "skipped.jsonl", "settings.json"
HEATMAPS, MASKS = "heatmaps", "masks"
FILE_STATE: Final = "file_state"
"""Key of a line: size in bytes and time in nanoseconds of the image's file, when it was scored."""

_MADE: Final = (HEATMAPS, MASKS, SKIPPED, SETTINGS, SHEET, TABLE, SCORES)
"""All that is written, in the order in which it appears: the scores come last."""

Line = dict[str, Any]
Key = tuple[str, str]
"""The path of an image and the class that it is looked at as."""


def key_of(line: Line) -> Key:
    """Return what a line is of."""
    return line["path"], line["class"]


def _file_key(line: Line) -> Key:
    """What a line is of, a page's by its file."""
    return str(page_of(Path(line["path"]))[0]), line["class"]


@contextmanager
def claimed_results(out: Path, ranks: Ranks, append: bool = False) -> Iterator[Path]:
    """The folder that `out` is, or leads to as a link: made, and the first rank's own until the block ends.

    What a command that died has left in it is removed. Raises `UserError` unless it is new or empty or, with `append`,
    holds results; and where another command works in it.
    """
    with writing(out):
        whole = Path(os.path.realpath(out)) if out.is_symlink() else out
    if not ranks.is_first:
        yield whole
        return
    _check_free(whole, append)
    with made_folder(whole, whole.name), locked(whole):
        _check_free(whole, append)  # another command may have ended meanwhile
        remove_leftovers(whole)
        yield whole
        (whole / LOCK).unlink()


def _check_free(folder: Path, append: bool) -> None:
    """Raise `UserError` for a file, and for a folder that holds more than the leftovers of a command that died."""
    fix = "name a new or an empty folder with --out"
    with writing(folder, fix):
        if not folder.is_symlink() and (append and (folder / SETTINGS).is_file()):
            return
        if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and all(map(_is_left, folder.iterdir())))):
            if (folder / SETTINGS).is_file():
                fix += "; or give --append to go on with the results in it"
            elif append:
                raise UserError("is not empty, and holds no results to go on with", where=str(folder), fix=fix)
            raise UserError("is not an empty folder", where=str(folder), fix=fix)


def _is_left(path: Path) -> bool:
    return is_leftover(path) or (path.name == LOCK and path.lstat().st_size == 0)


class Results:
    """Results that are being written: each rank adds lines of its own, which the first one puts together."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self.folder, self.ranks = folder, ranks
        self.done, self.pictures = set[Key](), set[str]()
        self.changed, self.unstated, self.had_line = set[Key](), 0, 0

    def add(self, lines: Iterable[Line], file: str = SCORES) -> None:
        """Add lines of this rank; they outlast the process as soon as this returns."""
        if not (text := "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines)):
            return
        with self._own(self.ranks.rank, file).open("a", encoding="utf-8") as journal:
            journal.write(text)
            journal.flush()
            os.fsync(journal.fileno())

    def put_together(self) -> None:
        """Put all ranks' lines behind those that are there; skipped images have one line, those scored since none."""
        (self.folder / SCORES).touch()
        known = set[bytes]()
        if (self.folder / SKIPPED).exists():
            known.update((self.folder / SKIPPED).read_bytes().splitlines(keepends=True))
        for rank in range(self.ranks.size):
            _move(self._own(rank, SCORES), self.folder / SCORES)
            _move(self._own(rank, SKIPPED), self.folder / SKIPPED, known)
        if known:
            left = self.skipped().items()
            _write_lines(self.folder / SKIPPED, ({"path": path, "problem": problem} for path, problem in left))

    def take_up(self, settings: Mapping[str, Any], given: Set[Key] = frozenset()) -> None:
        """Go on with the lines that are there, those of a command that died among them, or begin.

        A `given` image whose file has changed since loses its lines. Raises `UserError` where they were made with
        other settings.
        """
        if (self.folder / SETTINGS).is_file():
            _check_same(self.folder, settings)
            _mend(self.folder)
            self._forget_changed(given)
            self.remove_leftovers()
        self.begin(settings)

    def _forget_changed(self, given: Set[Key]) -> None:
        """Remove lines of given images whose files have changed since, with their pictures: these are scored anew.

        Killed at any time, it leaves images without a line, which the next command scores.
        """
        for line in self.lines():
            if (key := _file_key(line)) in given:
                stated, now = line.get(FILE_STATE), state_of(Path(key[0]))
                self.unstated += stated is None
                # Lines of older versions do not have the last.
                if stated is not None and now is not None and stated not in (list(now), list(now[:2])):
                    self.changed.add(key)
        if not self.changed:
            return
        gone = [line for line in self.lines() if _file_key(line) in self.changed]
        _write_lines(self.folder / SCORES, (line for line in self.lines() if _file_key(line) not in self.changed))
        for line in gone:
            for picture in (self.folder / place for what in ("heatmap", "mask") if (place := line.get(what))):
                if ".." not in picture.parts and picture.is_relative_to(self.folder):
                    picture.unlink(missing_ok=True)

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Write what the images are scored with, and the file whose presence says whose pictures lie beside it."""
        write_whole(self.folder / SETTINGS, json.dumps(settings, indent=2, allow_nan=False) + "\n")
        (self.folder / SCORES).touch()

    def pass_over(self) -> None:
        """Note what has a line, a file whose pages have some too, and what its pictures are called."""
        for line in self.lines():
            path, name = key_of(line)
            file, _, page = path.rpartition("#")
            self.done |= {(path, name), *([(file, name)] if page.isdecimal() else [])}
            self.pictures.add(line["heatmap"].partition("/")[2])

    def lines(self) -> Iterator[Line]:
        """Read the lines that are put together, one after another."""
        yield from _lines(self.folder / SCORES)

    def skipped(self) -> dict[str, str]:
        """Return why images were skipped, by their paths, but for those that have a line by now."""
        if not (self.folder / SKIPPED).exists():
            return {}
        found = dict[str, str]()
        for text in (self.folder / SKIPPED).read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, KeyError):  # one that a kill has cut short
                row = json.loads(text)
                found[str(row["path"])] = str(row["problem"])
        for line in self.lines() if found else ():
            found.pop(line["path"], None)
            found.pop(_file_key(line)[0], None)
        return found

    def forget_own(self) -> None:
        """Remove this rank's lines, of a process that died."""
        for file in (SCORES, SKIPPED):
            self._own(self.ranks.rank, file).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Delete pictures half drawn by processes that died. Nobody else may work in the folder."""
        for pictures in (self.folder / HEATMAPS, self.folder / MASKS):
            for place in (pictures, *(path for path in pictures.rglob("*") if path.is_dir())):
                remove_leftovers(place)

    def _own(self, rank: int, file: str) -> Path:
        return self.folder / f".{rank}.{file}"


@contextmanager
def results_in(
    out: Path, ranks: Ranks, settings: Mapping[str, Any], *, append: bool, given: Set[Key]
) -> Iterator[Results]:
    """Results to be filled: in a hidden folder, out of which they come when the block has ended, or in `out` itself.

    With `append` a `given` image whose file has changed since it was scored has no line any more. Raises `UserError`
    where the folder cannot be written.
    """
    part = out if append else all_gather_object(ranks, beside(out / "results"))[0]
    results = Results(part, ranks)
    try:
        if ranks.is_first:
            part.mkdir(exist_ok=append)
            if append:
                results.take_up(settings, given)
            else:
                results.begin(settings)
        barrier(ranks)
        if not part.is_dir():
            fix = "give --out a folder that all processes share"
            raise UserError(f"process {ranks.rank} does not see it", where=str(part), fix=fix)
        if append:
            results.pass_over()
        yield results
        if ranks.is_first and not append:
            for made in _MADE:
                if (part / made).exists():
                    (part / made).rename(out / made)
    except OSError as error:
        if not ranks.is_first and not part.exists():
            raise Lost("the first process has removed it", where=str(part), fix="look at what it said") from error
        raise not_writable(out, error) from None
    finally:
        if ranks.is_first and not append:
            remove_whole(part)


def _move(journal: Path, file: Path, known: Set[bytes] = frozenset()) -> None:
    """Put a journal's lines behind a file's, but for those that are known, and remove it."""
    if not journal.exists():
        return
    with journal.open("rb") as lines, file.open("ab") as whole:
        whole.writelines(line for line in lines if line not in known)
        whole.flush()
        os.fsync(whole.fileno())
    journal.unlink()


def _check_same(folder: Path, settings: Mapping[str, Any]) -> None:
    stored = read_json(folder / SETTINGS, fix="name another folder with --out")
    before = stored if isinstance(stored, dict) else {}
    if other := [key for key in {**before, **settings} if before.get(key) != settings.get(key)]:
        told = "; ".join(f"{key} was {before.get(key)}, and is {settings.get(key)}" for key in other)
        fix = "name another folder with --out, or give what was given then"
        raise UserError(f"its results were made in another way: {told}", where=str(folder), fix=fix)


def _mend(folder: Path) -> None:
    """Make the scores what a command that died would have made them: every whole line, once; pictures whole or none."""
    journals = sorted(folder.glob(f".*.{SCORES}"), key=lambda path: int(path.name.split(".")[1]))
    files = [path for path in (folder / SCORES, *journals) if path.exists()]
    _write_lines(folder / SCORES, _once(line for file in files for line in _lines(file)))
    for journal in (*journals, *folder.glob(f".*.{SKIPPED}")):
        journal.unlink()


def _once(lines: Iterable[Line]) -> Iterator[Line]:
    keys = set[Key]()
    for line in lines:
        if key_of(line) not in keys:
            keys.add(key_of(line))
            yield line


def _write_lines(file: Path, lines: Iterable[Line]) -> None:
    """Put lines in the place of those that are there, all of them at once."""
    part = beside(file)
    with part.open("x", encoding="utf-8") as whole:
        whole.writelines(json.dumps(line, allow_nan=False) + "\n" for line in lines)
        whole.flush()
        os.fsync(whole.fileno())
    part.replace(file)


def _lines(file: Path) -> Iterator[Line]:
    """The whole lines of a file; a last one that was cut short is none."""
    with file.open(encoding="utf-8") as text:
        for number, row in enumerate(text, start=1):
            if not row.endswith("\n"):
                return
            try:
                line = json.loads(row)
                key_of(line)
            except (ValueError, TypeError, KeyError) as error:
                problem = f"is no line of scores ({error})"
                fix = "mend or remove it, or name another folder with --out"
                raise UserError(problem, where=f"{file}, line {number}", fix=fix) from None
            yield line


def leading_to(folder: Path, names: Iterable[Path]) -> None:
    """Make the folders of files in a folder."""
    for parent in {name.parent for name in names}:
        (folder / parent).mkdir(parents=True, exist_ok=True)
