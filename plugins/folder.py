"""The data set `folder`: own images in the MVTec AD layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from aaclip_kit import DataSet, Domain, Options, Register, UserError, UserErrors, hookimpl


class ClassOptions(Options):
    """Which classes are read, and what they are called in the prompts."""

    classes: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="classes to read; by default all"
    )
    real_names: dict[str, str] = Field(default_factory=dict, description="class to the name that the prompts use")
    domain: Domain = Field("industrial", description="sets the scoring blur")


class FolderOptions(ClassOptions):
    """Own images in the MVTec layout: a root with classes, or one class."""

    root: Annotated[Path, Field(strict=False)] = Field(
        description="folder of classes, or of one class: CLASS/test/{good,DEFECT}, CLASS/ground_truth/DEFECT"
    )


def read_folder(options: FolderOptions) -> DataSet:
    """The samples below `root`; a class's real name is its folder's with spaces for underscores, unless given.

    A class without a folder ground_truth has no masks. Raises `UserErrors`: no such folder, no class in it, an unknown
    or empty class.
    """
    from .layouts import LAYOUTS, read_classes, unknown_classes

    root = options.root.expanduser()
    folders = _class_folders(root)
    if faults := unknown_classes([*(options.classes or ()), *options.real_names], list(folders), str(root)):
        raise UserErrors(faults)
    chosen = {name: path for name, path in folders.items() if options.classes is None or name in options.classes}
    return read_classes(chosen, LAYOUTS["mvtec"], options.real_names, options.domain)


def _class_folders(root: Path) -> dict[str, Path]:
    """Class folders by name, sorted. Raises `UserError` where there is none."""
    from .layouts import listed

    if not root.is_dir():
        raise UserError("there is no such folder", where=str(root), fix="correct `root`, or put the data there")
    if (root / "test").is_dir():
        return {root.resolve().name: root}
    folders = {path.name: path for path in listed(root) if (path / "test").is_dir()}
    if not folders:
        fix = "a class is a folder with test/good, test/DEFECT and, for masks, ground_truth/DEFECT"
        raise UserError("no class in this folder", where=str(root), fix=fix)
    return folders


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `folder`."""
    register("folder", read_folder, FolderOptions)
