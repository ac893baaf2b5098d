"""Writing a new package, all of it or nothing."""

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from uuid import uuid4

from ..contracts.errors import UserError, UserErrors
from ..registry import Registry
from .names import name_faults
from .package import Package


def write_package(package: Package, parent: Path, registry: Registry) -> list[PurePosixPath]:
    """Write the package into `parent`/NAME and return the paths of its files, from there.

    Raises `UserErrors`, and writes nothing, for a name that is taken or a folder that is not free; `UserError` where
    the files cannot be written.
    """
    target = parent / package.name
    faults = list(name_faults(package, registry))
    if faults := faults or list(_place_faults(target)):
        raise UserErrors(faults)
    from .render import render

    files = render(package)
    try:
        _write(files, target)
    except OSError as error:
        problem = f"the package cannot be written ({error.strerror or error})"
        raise UserError(problem, where=str(target), fix="name a folder that you may write with --out") from error
    return sorted(files)


def _place_faults(target: Path) -> Iterator[UserError]:
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        problem = "exists already, and is not an empty folder"
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    yield UserError(problem, where=str(target), fix="choose another name, or another folder with --out")


def _write(files: dict[PurePosixPath, bytes], target: Path) -> None:
    """Write beside the target and rename, so that nothing is left where a write fails."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}-{uuid4().hex}")
    try:
        for name, content in files.items():
            path = beside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
