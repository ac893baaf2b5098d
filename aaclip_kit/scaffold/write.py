"""Writing a new package, all of it or nothing."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..contracts.errors import UserError, UserErrors, not_writable
from ..files.whole_file import write_whole_folder
from ..plugin_host.registry import Registry
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
        write_whole_folder(target, files)
    except OSError as error:
        raise not_writable(target, error) from error
    return sorted(files)


def _place_faults(target: Path) -> Iterator[UserError]:
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        problem = "exists already, and is not an empty folder"
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
    yield UserError(problem, where=str(target), fix="choose another name, or another folder with --out")
