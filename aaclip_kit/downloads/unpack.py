"""Unpacking archives of strangers: plain files and folders alone, below one folder, and no more than the disk holds."""

import errno
import gzip
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from stat import S_ISLNK
from typing import IO, Final

from ..contracts.errors import UserError, shortened, writing

MOST_FILES: Final = 1_000_000
MOST_LETTERS: Final = 1_000
"""Characters of a path in an archive."""

MOST_TIMES: Final = 100
"""Times of the archive's own size that its content may have. Images hardly shrink; a bomb grows a thousandfold."""

ALLOWED: Final = 64 << 20
"""Bytes that the content of the smallest archive may have."""

_AT_ONCE: Final = 1 << 20
_FIX: Final = "fetch it again, or take the archive from the page of the data set"

Entry = tuple[str, IO[bytes] | None]
"""The name of a member, and what to read it from; None for a folder."""


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip or tar archive, packed or not, into a new folder; returns the number of files.

    Raises `UserError` for one that is damaged or no archive, and for what an archive of images has no need of: paths
    that leave the folder, links, devices, a name twice, more than `MOST_FILES` files, more than `MOST_TIMES` its size,
    or than the disk holds (then an OSError is its cause). What was unpacked until then is removed.
    """
    folder.mkdir(parents=True)
    try:
        with writing(folder, "make room, and give the command again"):
            return _unpack(archive, folder)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UserError) or not isinstance(error, Exception):
            raise
        raise _refused(archive, f"is damaged ({error})") from None  # which can raise nearly anything


def _unpack(archive: Path, folder: Path) -> int:
    left, room = MOST_TIMES * archive.stat().st_size + ALLOWED, shutil.disk_usage(folder).free
    count = 0
    for name, source in _entries(archive):
        target = folder / _inside(archive, name)
        count += source is not None
        if count > MOST_FILES:
            raise _refused(archive, f"holds more than {MOST_FILES:,} files")
        try:
            (target if source is None else target.parent).mkdir(parents=True, exist_ok=True)
            if source is None:
                continue
            file = target.open("xb")
        except (FileExistsError, NotADirectoryError):
            raise _refused(archive, f"holds {name} twice, or as a file and a folder") from None
        with source, file:
            while part := source.read(_AT_ONCE):
                left, room = left - len(part), room - len(part)
                if left < 0:
                    raise _refused(archive, f"holds more than {MOST_TIMES} times its size")
                if room < 0:
                    raise OSError(errno.ENOSPC, "the disk has no room for it")
                file.write(part)
    return count


def _entries(archive: Path) -> Iterator[Entry]:
    if zipfile.is_zipfile(archive):
        yield from _of_zip(archive)
    elif tarfile.is_tarfile(archive):
        yield from _of_tar(archive)
    else:
        raise _refused(archive, "is no archive (zip or tar)")


def _of_zip(archive: Path) -> Iterator[Entry]:
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            if S_ISLNK(member.external_attr >> 16):
                raise _refused(archive, f"holds a link: {member.filename}")
            if member.flag_bits & 1:
                raise _refused(archive, "is locked with a password")
            try:
                yield member.filename, None if member.is_dir() else packed.open(member)
            except NotImplementedError as error:
                raise _refused(archive, f"cannot be unpacked ({error})") from None


def _of_tar(archive: Path) -> Iterator[Entry]:
    with tarfile.open(archive, "r:*") as packed:
        for member in packed:
            if not (member.isdir() or member.isreg()) or member.issparse():
                raise _refused(archive, f"holds what is neither file nor folder: {member.name}")
            yield member.name, None if member.isdir() else packed.extractfile(member)
        try:
            while packed.fileobj and packed.fileobj.read(_AT_ONCE):
                pass  # the checksum of a packed one stands at its end, behind the last member
        except gzip.BadGzipFile as error:
            raise _refused(archive, f"is damaged ({error})") from None


def _inside(archive: Path, name: str) -> PurePosixPath:
    """The place of a member below the folder. Raises `UserError` for one that would lie elsewhere."""
    if len(name) > MOST_LETTERS:
        raise _refused(archive, f"holds a path of {len(name):,} characters: {shortened(name, 80)}")
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    leaves = path.is_absolute() or windows.drive or windows.root or ".." in (*path.parts, *windows.parts)
    if leaves or "\\" in name or not name.isprintable():
        raise _refused(archive, f"holds a path that leaves its folder: {name}")
    return path


def _refused(archive: Path, problem: str) -> UserError:
    return UserError(problem, where=str(archive), fix=_FIX)
