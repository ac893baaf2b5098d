"""Files that are read whole: plain ones of a bounded size; no pipe is waited for, no device read without end."""

import hashlib
import json
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, Final

from ..contracts.errors import UserError
from .system import open_without_waiting

MOST_BYTES: Final = 256 << 20
"""Size of the largest JSON file that is read; the events of a long run have a few million bytes."""

WHOLE: Final = "restore it, or name the folder of a whole run"


def check_plain(path: Path, *, most: int | None = None, fix: str = "name another file") -> int:
    """The size in bytes of a plain file; links are followed.

    Raises `UserError` for what is missing, is no plain file, or has more than `most` bytes.
    """
    try:
        facts = path.stat()
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, fix) from None
    if not S_ISREG(facts.st_mode):
        problem = "is a folder, and no file" if S_ISDIR(facts.st_mode) else "is no plain file"
        raise UserError(problem, where=str(path), fix=fix)
    if most is not None and facts.st_size > most:
        raise _too_large(path, most, fix)
    return facts.st_size


def read_plain(path: Path, *, most: int = MOST_BYTES, fix: str = "name another file") -> bytes:
    """What a plain file holds. Raises `UserError` as `check_plain` does, and for one that cannot be read."""
    size = check_plain(path, most=most, fix=fix)
    try:
        # Of what the system makes while it is read, neither the size is known before nor whether it ever comes.
        with open(path, "rb", opener=open_without_waiting) as file:
            content = file.read(size + 1) or b""
            if len(content) > size:
                content += file.read(most + 1 - len(content)) or b""
    except OSError as error:
        raise _unreadable(path, error, fix) from None
    if len(content) > most:
        raise _too_large(path, most, fix)
    return content


def checksum_of(path: Path) -> str:
    """SHA-256 of a file of any size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_text(path: Path, *, most: int = MOST_BYTES, fix: str = "name another file") -> str:
    """The same of a text file, without the mark of UTF-8. Raises `UserError` also for one that is not in UTF-8."""
    try:
        return read_plain(path, most=most, fix=fix).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _unreadable(path, error, fix) from None


def read_json(path: Path, *, fix: str = WHOLE) -> dict[str, Any]:
    """A file's JSON object. Raises `UserError` also for one that is damaged or holds something else."""
    record = read_any_json(path, fix=fix)
    if not isinstance(record, dict):
        raise UserError("holds no JSON object", where=str(path), fix=fix)
    return record


def read_any_json(path: Path, *, fix: str = WHOLE) -> Any:
    """Whatever a JSON file holds. Raises `UserError` also for one that is damaged."""
    try:
        return json.loads(read_text(path, fix=fix))
    except (ValueError, RecursionError) as error:
        raise UserError(f"cannot be read: it is damaged ({error})", where=str(path), fix=fix) from None


def _unreadable(path: Path, error: Exception, fix: str) -> UserError:
    if isinstance(error, FileNotFoundError):
        return UserError("there is no such file", where=str(path), fix=fix)
    reason = getattr(error, "strerror", None) or error
    return UserError(f"cannot be read ({reason})", where=str(path), fix=fix)


def _too_large(path: Path, most: int, fix: str) -> UserError:
    return UserError(f"has more than {most:,} bytes", where=str(path), fix=fix)
