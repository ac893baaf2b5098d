"""A public data set from its archive: fetched if it must be, checked, unpacked, read once, and put in its place."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..contracts.data import DataOrigin, DataSet
from ..contracts.errors import UserError, UserErrors, writing
from ..downloads.download import Progress, download, forget
from ..downloads.unpack import unpack
from ..files.lock import locked
from ..files.plain_file import checksum_of
from ..files.whole_file import write_whole
from .checks import shown
from .manifests import Row
from .published_split import write_split

ORIGIN: Final = "origin.json"
"""In the folder of the data, where they are from."""

ARCHIVE: Final = "archive"

Read = Callable[[Path], DataSet]
"""Reads the data set from its root."""


@dataclass(frozen=True)
class Source:
    """Where an archive is: an address, or a file that was fetched by hand; and its SHA-256, where that is known."""

    url: str | None
    file: Path | None
    sha256: str | None


@dataclass(frozen=True)
class Unpacked:
    """An archive, the folder that it is unpacked into, and its SHA-256."""

    archive: Path
    folder: Path
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """What was put in place: the data set, the SHA-256 of its archive, and the rows of each part of its split."""

    data: DataSet
    sha256: str
    parts: dict[str, list[Row]]


def fetch(name: str, origin: DataOrigin, source: Source, out: Path, read: Read, progress: Progress) -> Fetched:
    """Put a data set into a new folder, whole or not at all.

    Until it is there, what has come lies in OUT.download, from where the same call goes on. Raises `UserError` where
    the archive cannot be fetched or unpacked, has another SHA-256 or holds another data set, and where `out` is there.
    """
    if out.exists():
        raise UserError("is there already", where=str(out), fix="name another folder with --out, or remove it")
    work = out.with_name(out.name + ".download")
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    try:
        with locked(work):
            archive = source.file or work / ARCHIVE
            if source.file is None:
                assert source.url is not None
                download(source.url, archive, progress)
            digest = _checked(archive, source)
            try:
                found = _put(name, origin, source, out, read, Unpacked(archive, work / "unpacked", digest))
            except UserError as error:
                if source.file is None and not isinstance(error.__cause__, OSError):  # it would be the same again
                    forget(archive)
                raise
        shutil.rmtree(work, ignore_errors=True)
        return found
    finally:
        with suppress(OSError):
            work.rmdir()  # where nothing was kept


def _put(name: str, origin: DataOrigin, source: Source, out: Path, read: Read, unpacked: Unpacked) -> Fetched:
    """Unpack the archive, read the data set, make its split, and give it its name; what fails leaves nothing."""
    shutil.rmtree(unpacked.folder, ignore_errors=True)
    unpack(unpacked.archive, unpacked.folder)
    try:
        root, data = _root(name, unpacked.folder, read, unpacked.archive)
        parts = write_split(root, origin.split) if origin.split and (root / origin.split).is_file() else {}
        record = {"data_set": name, "page": origin.page, "licence": origin.licence, "sha256": unpacked.sha256}
        where = source.url or unpacked.archive.name
        with writing(out):
            write_whole(root / ORIGIN, json.dumps({**record, "archive": where}, indent=2) + "\n")
            root.rename(out)
    finally:
        shutil.rmtree(unpacked.folder, ignore_errors=True)
    return Fetched(data, unpacked.sha256, parts)


def _checked(archive: Path, source: Source) -> str:
    """The archive's SHA-256. Raises `UserError` where another is known; what was fetched is then removed."""
    digest = checksum_of(archive)
    if source.sha256 is not None and digest != source.sha256:
        if source.file is None:
            forget(archive)
        problem = f"is another file than was expected: its SHA-256 is {digest}, and should be {source.sha256}"
        fix = "try again; where the publishers have a new archive, give its own with --sha256"
        raise UserError(problem, where=source.url or str(archive), fix=fix)
    return digest


def _root(name: str, unpacked: Path, read: Read, archive: Path) -> tuple[Path, DataSet]:
    """The folder from which the data set can be read, the whole or the only one in it."""
    folders = [path for path in unpacked.iterdir() if path.is_dir() and path.name != "__MACOSX"]
    faults = list[UserError]()
    for root in (unpacked, *(folders if len(folders) == 1 else ())):
        try:
            data = read(root)
        except UserError as error:
            faults += error.faults
            continue
        if not data.faults:
            return root, data
        faults += data.faults
    first = shown(faults, name)[0]
    problem = f"holds no {name} in the publishers' layout: {first.where or ''} {first.problem}"
    fix = "give the archive of that data set, or unpack it yourself and see aakit data check"
    raise UserErrors([UserError(problem, where=str(archive), fix=fix)])
