"""The files of a new package, from the templates of its kind and those that all kinds share."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ..plugin_host.api_version import API_VERSION
from .package import Package
from .sample_images import sample_images

_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = "shared"


def render(package: Package) -> dict[PurePosixPath, bytes]:
    """Every file by its path in the package. `_base` holds what templates extend, and is no part of a package."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    files = {}
    for folder in (_SHARED, package.kind):
        for template in sorted((_TEMPLATES / folder).rglob("*.jinja")):
            name = template.relative_to(_TEMPLATES).as_posix()
            text = environment.get_template(name).render(package=package, api=API_VERSION)
            files[_place(PurePosixPath(name), package)] = text.encode()
    if package.kind == "data-set":
        files |= sample_images()
    return files


def _place(template: PurePosixPath, package: Package) -> PurePosixPath:
    """Where a template's file belongs: `MODULE` stands for the import package, `dot-` for the dot of a hidden name."""
    parts = [re.sub(r"^dot-", ".", part).replace("MODULE", package.module) for part in template.parts[1:]]
    return PurePosixPath(*parts).with_suffix("")
