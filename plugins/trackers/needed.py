"""What trackers share: the package that one needs, and the folder that its files go into."""

from importlib.util import find_spec
from pathlib import Path

from aaclip_kit import TrackedRun, UserError


def check_installed(package: str, extra: str) -> None:
    """Raise `UserError` where a package is not installed; it is not imported."""
    if find_spec(package) is None:
        fix = f"pip install 'aaclip-kit[{extra}]', or take the tracker out"
        raise UserError(f"needs the package {package}, which is not installed", where="use", fix=fix)


def check_folder(folder: Path | None) -> None:
    """Raise `UserError` for the path of a file where a folder is asked for."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file", where="folder", fix="name a folder")


def folder_of(run: TrackedRun, folder: Path | None) -> Path:
    """The folder for the run's files: in the one that was asked for, or its own. It is made."""
    made = run.files if folder is None else folder.expanduser().resolve() / run.name
    made.mkdir(parents=True, exist_ok=True)
    return made
