"""A new plugin package, written whole or not at all: its names, its files from templates, pictures for a data set."""

import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path, PurePosixPath
from random import Random

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image, ImageDraw

import aaclip_kit

from ..contracts.errors import UserError, UserErrors, writing
from ..files.whole_file import write_whole_folder
from ..plugin_host.api_version import API_VERSION
from ..plugin_host.registry import Kind, Registry

_TEMPLATES = Path(__file__).parent / "templates"
_SHARED = "shared"

SIDE, EACH = 112, 4
_BRIGHTNESS = range(150, 190)
"""Pictures of a new data set: side in pixels, number of normal and of anomalous ones, grey levels of a sheet."""

_FIRST: dict[Kind, str] = {
    "attention-stage": "stage.py",
    "backbone": "towers.py",
    "prompts": "prompts.py",
    "head": "head.py",
    "reference": "memory.py",
    "loss": "loss.py",
    "scheduler": "schedule.py",
    "data-set": "read.py",
    "tracker": "follow.py",
}

_DISTRIBUTION = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_OWN_FOLDERS = frozenset({"build", "dist", "runs", "sample_data", "tests"})
"""Folders that the package itself has, or gets."""

IMPORTED = frozenset(aaclip_kit.__all__).union(
    ("Annotated", "Block", "Callable", "Field", "Iterable", "LooksAtPatches", "LooksAtPrompts"),
    ("Path", "Sequence", "SimpleNamespace", "SimpleTokenizer", "Tensor"),
)
"""Names that files of a new package import or define, so that its class cannot be called like one of them."""


@dataclass(frozen=True)
class Package:
    """A new package of one component. `name` is the distribution's, as the user gave it."""

    name: str
    kind: Kind

    @property
    def module(self) -> str:
        """Name of the import package, and of the component: lower case, with underscores."""
        return re.sub(r"[-_.]+", "_", self.name).lower()

    @property
    def class_name(self) -> str:
        """Name of the component's class; that of its options has Options behind it."""
        return "".join(part[:1].upper() + part[1:] for part in self.module.split("_"))

    @property
    def first(self) -> str:
        """The file that does the work, which its author edits first."""
        return f"{self.module}/{_FIRST[self.kind]}"


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
    with writing(target):
        write_whole_folder(target, files)
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
    """Render each file by its path in the package. `_base` holds what templates extend, and is part of no package."""
    loader = FileSystemLoader(_TEMPLATES)
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    files = {}
    for folder in (_SHARED, package.kind):
        for template in sorted((_TEMPLATES / folder).rglob("*.jinja")):
            name = PurePosixPath(template.relative_to(_TEMPLATES).as_posix())
            text = environment.get_template(str(name)).render(package=package, api=API_VERSION)
            # MODULE stands for the import package, and "dot-" for the dot of a hidden name.
            parts = [re.sub(r"^dot-", ".", part).replace("MODULE", package.module) for part in name.parts[1:]]
            files[PurePosixPath(*parts).with_suffix("")] = text.encode()
    if package.kind == "data-set":
        files |= sample_images()
    return files


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


def name_faults(package: Package, registry: Registry) -> Iterator[UserError]:
    """Say what is wrong with a package's name; one that is of no valid form is asked nothing further."""
    name, module = package.name, package.module
    if not re.fullmatch(_DISTRIBUTION, name) or not module.isidentifier() or iskeyword(module):
        problem = f"the name '{name}' gives no package that Python can import"
        fix = "begin with a letter and use letters, digits and single hyphens, such as my-attention"
        yield UserError(problem, where="NAME", fix=fix)
        return
    another = f"choose another name, such as my-{name}"
    taken = (
        (_taken_module(module) or _taken_distribution(name), another),
        (_taken_class(package), another),
        (_taken_component(package, registry), "choose another name, or uninstall that plugin"),
    )
    yield from (UserError(problem, where="NAME", fix=fix) for problem, fix in taken if problem)


def _taken_module(module: str) -> str | None:
    if module in sys.stdlib_module_names:
        return f"'{module}' is a module of Python's standard library"
    if module in _OWN_FOLDERS:
        return f"'{module}' is a folder that the new package has, or gets, beside its own"
    spec = find_spec(module)
    # A folder without modules can be imported too, as a namespace, and is in nobody's way.
    return f"a module '{module}' is installed already" if spec and spec.origin else None


def _taken_distribution(name: str) -> str | None:
    try:
        installed = distribution(name)
    except PackageNotFoundError:
        return None
    return f"a package of that name is installed already: {installed.name} {installed.version}"


def _taken_class(package: Package) -> str | None:
    taken = [name for name in (package.class_name, f"{package.class_name}Options") if name in IMPORTED]
    return f"its class would be called {taken[0]}, which is the name of one that it imports" if taken else None


def _taken_component(package: Package, registry: Registry) -> str | None:
    key = (package.kind, package.module)
    owners = [registry.components[key].plugin] if key in registry.components else registry.clashes.get(key, [])
    if not owners:
        return None
    return f"{package.kind} '{package.module}' is registered already, by {' and '.join(map(str, owners))}"
