"""Python and the packages, against what the installed distributions say that they need."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet

from .finding import Finding

DISTRIBUTION: Final = "aaclip-kit"


def python() -> Iterator[Finding]:
    """Its version, and whether it is a virtual environment's."""
    version = platform.python_version()
    wanted = _field(DISTRIBUTION, "Requires-Python") or ">=3.11"
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        yield Finding("python", "bad", f"{version}, and {wanted} is needed", "make an environment of a newer Python")
    elif sys.prefix != sys.base_prefix or os.environ.get("CONDA_PREFIX") == sys.prefix:
        yield Finding("python", "good", f"{version}, environment {sys.prefix}")
    else:
        advice = "python -m venv .venv, and install there: packages of other programs may change these"
        yield Finding("python", "note", f"{version} of {sys.prefix}, in no virtual environment", advice)


def packages() -> Iterator[Finding]:
    """Every package that this one needs, and that those need: whether it is there, in a version that they ask for."""
    if _version(DISTRIBUTION) is None:
        advice = "in a clone of it: python -m pip install ."
        yield Finding("packages", "bad", f"{DISTRIBUTION} is not installed", advice)
        return
    needs = dict.fromkeys(_needs())
    faults = [fault for owner, need in needs if (fault := _fault(owner, need))]
    yield from faults
    if not faults:
        own = sorted({need.name for owner, need in needs if owner == DISTRIBUTION}, key=str.lower)
        versions = ", ".join(f"{name} {_version(name)}" for name in (DISTRIBUTION, *own))
        yield Finding("packages", "good", versions)


def _needs() -> Iterator[tuple[str, Requirement]]:
    """Each requirement that holds on this machine, with who has it; first this distribution's, then theirs."""
    waiting, seen = [(DISTRIBUTION, "")], set()
    while waiting:
        owner, extra = waiting.pop(0)
        if (owner, extra) in seen:
            continue
        seen.add((owner, extra))
        for need in _requirements(owner):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                yield owner, need
                waiting += [(need.name, one) for one in ("", *sorted(need.extras))]


def _requirements(name: str) -> Iterator[Requirement]:
    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # told by whoever needs it
        return
    for text in texts:
        try:
            yield Requirement(text)
        except InvalidRequirement:  # of an old package, whose installer read it otherwise
            continue


def _fault(owner: str, need: Requirement) -> Finding | None:
    version = _version(need.name)
    if version is not None and need.specifier.contains(version, prereleases=True):
        return None
    what = f"{need.name} is not installed" if version is None else f"{need.name} is {version}"
    wanted = f", and {owner} needs {need.name}{need.specifier}"
    return Finding("packages", "bad", what + wanted, f"python -m pip install '{need.name}{need.specifier}'")


def _version(name: str) -> str | None:
    return _field(name, "Version")


def _field(name: str, key: str) -> str | None:
    """A line of a distribution's metadata; None where there is no such line, or no such distribution."""
    try:
        found = metadata.metadata(name)
        return found[key] if key in found else None  # noqa: SIM401 - it has no get for type checkers
    except metadata.PackageNotFoundError:
        return None
