"""The folder of stored features: where an entry lies, what is there, what may be deleted. Needs no torch.

FOLDER/IDENTITY/KE/KEY.safetensors, with the first 16 characters of the backbone's identity and the first two of the
key. Nothing that is named otherwise is ever counted or deleted: a user may name a folder that holds other things.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

from ..contracts.errors import UserError

VARIABLE: Final = "AAKIT_CACHE"
"""Environment variable that moves everything which the toolkit keeps for later runs."""

DAY: Final = 86400.0
_IDENTITY, _SHELF = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{2}")
_ENTRY, _PART = re.compile(r"[0-9a-f]{64}\.safetensors"), re.compile(r"\.[0-9a-f]{64}\.[0-9a-f]{32}\.part")


@dataclass(frozen=True)
class Entry:
    """A file of the store: size in bytes, and when it was last used, in seconds since 1970."""

    path: Path
    identity: str
    size: int
    used: float


def default_folder() -> Path:
    """`features` in $AAKIT_CACHE, else in aaclip_kit in the user's cache folder. Raises `UserError` without a home."""
    named = os.environ.get(VARIABLE)
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return (Path(named) if named else Path(user) / "aaclip_kit").expanduser() / "features"
    except RuntimeError:
        fix = f"set the environment variable HOME, or {VARIABLE} to a folder that you may write"
        raise UserError("no home folder is known", where=named or user, fix=fix) from None


def entry_path(folder: Path, identity: str, key: str) -> Path:
    """Where the entry of a key lies; identity and key are SHA-256 in hexadecimal."""
    return folder / identity[:16] / key[:2] / f"{key}.safetensors"


def part_path(entry: Path) -> Path:
    """A new name beside an entry, under which nobody else writes."""
    return entry.with_name(f".{entry.stem}.{uuid4().hex}.part")


def entries(folder: Path) -> list[Entry]:
    """Every entry, of any backbone; none in a folder that does not exist. Raises OSError where it cannot be read."""
    return list(_files(folder, _ENTRY))


def remove_leftovers(folder: Path) -> None:
    """Delete what runs that died left half written. A run that lives writes a file within a day."""
    remove(part for part in _files(folder, _PART) if part.used < time.time() - DAY)


def remove(files: Iterable[Entry]) -> list[OSError]:
    """Delete files; what another process has deleted meanwhile is as good. Returns what went wrong."""
    faults = []
    for file in files:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            faults.append(error)
    return faults


def clear(folder: Path) -> list[OSError]:
    """Delete every file of the store, and its folders that are empty then. Returns what went wrong."""
    faults = remove([*entries(folder), *_files(folder, _PART)])
    for shelf in [path for _, path in _shelves(folder)]:
        for empty in (shelf, shelf.parent):
            with suppress(OSError):
                empty.rmdir()
    return faults


def _files(folder: Path, name: re.Pattern[str]) -> Iterator[Entry]:
    for identity, shelf in _shelves(folder):
        for file in _listed(shelf):
            if not name.fullmatch(file.name):
                continue
            with suppress(FileNotFoundError):
                if file.is_file(follow_symlinks=False):
                    facts = file.stat(follow_symlinks=False)
                    yield Entry(Path(file.path), identity, facts.st_size, facts.st_mtime)


def _shelves(folder: Path) -> Iterator[tuple[str, Path]]:
    """Identity and path of each folder that holds entries."""
    for backbone in _listed(folder):
        if _IDENTITY.fullmatch(backbone.name) and backbone.is_dir(follow_symlinks=False):
            for shelf in _listed(Path(backbone.path)):
                if _SHELF.fullmatch(shelf.name) and shelf.is_dir(follow_symlinks=False):
                    yield backbone.name, Path(shelf.path)


def _listed(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as listed:
            return list(listed)
    except FileNotFoundError:
        return []
