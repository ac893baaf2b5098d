"""The data set `manifest`: own images listed in a file, one image a row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from aaclip_kit import DataSet, Register, hookimpl

from .folder import ClassOptions


class ManifestOptions(ClassOptions):
    """Images listed as JSON lines, the published form, or as CSV."""

    manifest: Annotated[Path, Field(strict=False)] = Field(
        description='JSON lines, or CSV where it ends in .csv, with "image_path", "label" (0 or 1), "class_name" and, '
        'where anomalous and there is one, "mask_path"'
    )
    root: Annotated[Path, Field(strict=False)] | None = Field(
        None, description="folder that the paths start from and may not leave; by default the manifest's own"
    )


def read_manifest(options: ManifestOptions) -> DataSet:
    """The manifest's samples; faulty rows are faults of the data set. Raises `UserError` as `read_rows` does."""
    from .manifest_rows import read_rows

    file = options.manifest.expanduser()
    root = options.root.expanduser() if options.root else file.parent
    return read_rows(file, root, options.classes, options.real_names, options.domain)


@hookimpl
def register_data_sets(register: Register) -> None:
    """Offer `manifest`."""
    register("manifest", read_manifest, ManifestOptions)
