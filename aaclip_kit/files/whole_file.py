"""Files and folders that a reader finds whole or not at all."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath
from uuid import uuid4


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file beside and rename it: a reader sees the earlier one or the new one, never half of either.

    The new one then outlasts a loss of power, where the file system keeps its word. Raises OSError where it cannot be
    written; then the earlier one is as it was and nothing is left beside it.
    """
    write_whole_together({path: content})


def write_whole_together(contents: Mapping[Path, str | bytes]) -> None:
    """As `write_whole`, for files that belong together: all are on the disk before the first is renamed."""
    parts = {path: path.with_name(path.name + ".part") for path in contents}
    try:
        for path, content in contents.items():
            with parts[path].open("wb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            part.replace(path)
        for folder in {path.parent for path in contents}:
            with suppress(OSError):  # makes a renaming last, where the system can do that for a folder
                descriptor = os.open(folder, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
    finally:
        for part in parts.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)


def write_whole_folder(folder: Path, files: Mapping[PurePosixPath, bytes]) -> None:
    """Write a new folder's files, by their places in it, beside it and rename: it is there with all of them or not.

    Raises OSError where it cannot be written, or is there already and not empty; then nothing is left beside it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}-{uuid4().hex}")
    try:
        for name, content in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
