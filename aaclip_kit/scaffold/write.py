"""Writing a new package, all of it or nothing: its files come from templates, and pictures are drawn for a data set."""

import io
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from random import Random

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw

from ..contracts.errors import UserError, UserErrors, not_writable
from ..files.whole_file import write_whole_folder
from ..plugin_host.api_version import API_VERSION
from ..plugin_host.registry import Registry
from .names import Package, name_faults

_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = "shared"

SIDE, EACH = 112, 4
_BRIGHTNESS = range(150, 190)
"""Pictures of a new data set: side in pixels, number of normal and of anomalous ones, grey levels of a sheet."""


def write_package(package: Package, parent: Path, registry: Registry) -> list[PurePosixPath]:
    """Write the package into `parent`/NAME and return the paths of its files, from there.

    Raises `UserErrors`, and writes nothing, for a name that is taken or a folder that is not free; `UserError` where
    the files cannot be written.
    """
    target = parent / package.name
    faults = list(name_faults(package, registry))
    if faults := faults or list(_place_faults(target)):
        raise UserErrors(faults)
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


def sample_images() -> dict[PurePosixPath, bytes]:
    """Draw sheets of metal, and others with a stain: EACH of both, SIDE pixels square, with masks of the stains.

    Returns PNG files by their paths, which begin with `sample_data`.
    """
    files, root = {}, PurePosixPath("sample_data")
    for number in range(EACH):
        files[root / "normal" / f"{number:03}.png"] = _png(_sheet(Random(number)))
        random = Random(EACH + number)
        image, mask = _sheet(random), Image.new("L", (SIDE, SIDE))
        place = _stain(random)
        ImageDraw.Draw(image).ellipse(place, fill=(90, 60, 40))
        ImageDraw.Draw(mask).ellipse(place, fill=255)
        files[root / "anomalous" / f"{number:03}.png"] = _png(image)
        files[root / "masks" / f"{number:03}.png"] = _png(mask)
    return files


def _sheet(random: Random) -> Image.Image:
    grey = Image.frombytes("L", (SIDE, SIDE), bytes(random.choices(_BRIGHTNESS, k=SIDE * SIDE)))
    return grey.convert("RGB")


def _stain(random: Random) -> tuple[int, int, int, int]:
    width, height = random.randint(14, 30), random.randint(14, 30)
    left, top = random.randint(4, SIDE - width - 4), random.randint(4, SIDE - height - 4)
    return left, top, left + width, top + height


def _png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
