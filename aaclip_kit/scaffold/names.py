"""The package that is to be written: its kind and names, where its author begins, and which names are free."""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from keyword import iskeyword

import aaclip_kit

from ..contracts.errors import UserError
from ..plugin_host.registry import Kind, Registry

_FIRST: dict[Kind, str] = {
    "attention-stage": "stage.py",
    "backbone": "towers.py",
    "loss": "loss.py",
    "scheduler": "schedule.py",
    "data-set": "read.py",
}

_DISTRIBUTION = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_OWN_FOLDERS = frozenset({"build", "dist", "runs", "sample_data", "tests"})
"""Folders that the package itself has, or gets."""

IMPORTED = frozenset(aaclip_kit.__all__).union(
    ("Annotated", "Block", "Callable", "Field", "LooksAtPatches", "LooksAtPrompts"),
    ("Path", "Sequence", "SimpleTokenizer", "Tensor"),
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


def name_faults(package: Package, registry: Registry) -> Iterator[UserError]:
    """What is wrong with a package's name; one that is of no valid form is asked nothing further."""
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
    found = find_spec(module)
    # A folder without modules can be imported too, as a namespace, and is in nobody's way.
    return f"a module '{module}' is installed already" if found and found.origin else None


def _taken_distribution(name: str) -> str | None:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return f"a package of that name is installed already: {found.name} {found.version}"


def _taken_class(package: Package) -> str | None:
    for name in (package.class_name, f"{package.class_name}Options"):
        if name in IMPORTED:
            return f"its class would be called {name}, which is the name of one that it imports"
    return None


def _taken_component(package: Package, registry: Registry) -> str | None:
    key = (package.kind, package.module)
    owners = registry.clashes.get(key, [])
    if key in registry.components:
        owners = [registry.components[key].plugin]
    if not owners:
        return None
    return f"{package.kind} '{package.module}' is registered already, by {' and '.join(map(str, owners))}"
