"""The data set `folder`: real images in the MVTec AD layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from aaclip_kit import DataSet, Domain, Options, Register, hookimpl


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
    """The samples below `root`. Raises `UserError` for a folder that is missing, empty or without masks."""
    from .mvtec_layout import read_mvtec

    return read_mvtec(options.root.expanduser(), options.classes, options.real_names, options.domain)


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `folder`."""
    register("folder", read_folder, FolderOptions)
