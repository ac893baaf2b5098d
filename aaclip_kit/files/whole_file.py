"""Files and folders that a reader finds whole or not at all."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final
from uuid import uuid4

from .system import make_renamings_last

_BESIDE: Final = re.compile(r"\.[0-9a-f]{32}(\.[^.]*)?\.part")


def beside(path: Path) -> Path:
    """A name in the same folder that nothing bears, and that can be written wherever `path` can.

    Create what it names with mode "x" or `mkdir`, which follow no link and take nothing that is there already.
    """
    return path.with_name(f".{uuid4().hex}{path.suffix[:16]}.part")


def is_leftover(path: Path) -> bool:
    """Say whether a name is one of `beside`, whose process has died where nobody writes now."""
    return bool(_BESIDE.fullmatch(path.name))


def remove_leftovers(folder: Path) -> None:
    """Delete what lies `beside` others in a folder where nobody else writes: processes which died have left it."""
    with suppress(OSError):
        for path in filter(is_leftover, folder.iterdir()):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def remove_whole(folder: Path) -> None:
    """Remove a folder that others may still write into: once it has another name they find it no more."""
    gone = beside(folder)
    try:
        folder.replace(gone)
    except OSError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file beside and rename it: a reader sees the earlier one or the new one, never half of either.

    The new one then outlasts a loss of power, where the file system keeps its word. Raises OSError where it cannot be
    written; then the earlier one is as it was and nothing is left beside it.
    """
    write_whole_together({path: content})


def write_whole_together(contents: Mapping[Path, str | bytes]) -> None:
    """As `write_whole`, for files that belong together: all are on the disk before the first is renamed."""
    parts = {path: beside(path) for path in contents}
    try:
        for path, content in contents.items():
            with parts[path].open("xb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            part.replace(path)
        for folder in {path.parent for path in contents}:
            make_renamings_last(folder)
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)


def write_whole_folder(folder: Path, files: Mapping[PurePosixPath, bytes]) -> None:
    """Write a new folder's files, by their places in it. Raises OSError as `whole_folder` does."""
    with whole_folder(folder) as part:
        for name, content in files.items():
            path = part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside, to write into, that is renamed at the end: it is there with all of its files or not.

    Raises OSError where it cannot be written, or is there already and not empty; then, and where the writing ends in
    any error, nothing is left beside it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = beside(folder)
    try:
        part.mkdir()
        yield part
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
