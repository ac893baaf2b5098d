"""The installation: Python, packages, torch, plugins, weights and environment variables."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from ..contracts.errors import UserError
from ..plugin_host.discovery import discover
from ..plugin_host.registry import MEND, TRACEBACK
from .examine import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

DISTRIBUTION: Final = "aaclip-kit"
"""This package, as pip calls it."""

_OF_DEVELOPERS: Final = ("dev", "docs")
"""Extras that serve nobody else."""

_AGAIN: Final = "python -m pip install --force-reinstall torch torchvision, both from one place"

EMBEDDED: Final = "embedded"
"""The backbone whose weights are part of this package."""

AT_HAND: Final = "weights_at_hand"
"""A function that the module of a backbone's plugin may have: names of weights that lie on this machine."""

_UNUSABLE: Final = (
    "mend what is bad above; if nothing is: python -m pip install --force-reinstall --no-deps open_clip_torch"
)

TELLING: Final = (
    *("AAKIT_CACHE", "AAKIT_REALDATA", "AAKIT_TRUST_PICKLES"),
    *("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"),
    *("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TRITON_INTERPRET"),
)
"""Variables that are shown; none of them holds a secret."""


def python() -> Iterator[Finding]:
    """Its version, and whether it is a virtual environment's."""
    from packaging.specifiers import SpecifierSet

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
    if _field(DISTRIBUTION) is None:
        advice = "in a clone of it: python -m pip install ."
        yield Finding("packages", "bad", f"{DISTRIBUTION} is not installed", advice)
        return
    needs = dict.fromkeys(_needs())
    faults = [fault for owner, need in needs if (fault := _fault(owner, need))]
    yield from faults
    if not faults:
        own = sorted({need.name for owner, need in needs if owner == DISTRIBUTION}, key=str.lower)
        versions = ", ".join(f"{name} {_field(name)}" for name in (DISTRIBUTION, *own))
        yield Finding("packages", "good", versions)


def extras() -> Iterator[Finding]:
    """Which extras are installed: packages for what not everybody needs."""
    if _field(DISTRIBUTION) is None:  # told above
        return
    offered = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra", [])
    names = [name for name in offered if name not in _OF_DEVELOPERS]
    lacking = [name for name in names if any(_fault(owner, need) for owner, need in _needs(name))]
    there = ", ".join(name for name in names if name not in lacking) or "none"
    if lacking:
        advice = f"python -m pip install '{DISTRIBUTION}[{','.join(lacking)}]', or those of them that you need"
        yield Finding("extras", "good", f"{there}; not installed: {', '.join(lacking)}", advice)
    else:
        yield Finding("extras", "good", there)


def _needs(extra: str = "") -> "Iterator[tuple[str, Requirement]]":
    """Each requirement that holds on this machine, with who has it; first this distribution's, then theirs."""
    waiting, seen = [(DISTRIBUTION, extra)], set()
    while waiting:
        owner, extra = waiting.pop(0)
        if (owner, extra) in seen:
            continue
        seen.add((owner, extra))
        for need in _requirements(owner):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                yield owner, need
                waiting += [(need.name, one) for one in ("", *sorted(need.extras))]


def _requirements(name: str) -> "Iterator[Requirement]":
    # Where it is missing, what else is looked at here is told all the same.
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        texts = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # told by whoever needs it
        return
    for text in texts:
        try:
            yield Requirement(text)
        except InvalidRequirement:  # of an old package, whose installer read it otherwise
            continue


def _fault(owner: str, need: "Requirement") -> Finding | None:
    version = _field(need.name)
    if version is not None and need.specifier.contains(version, prereleases=True):
        return None
    what = f"{need.name} is not installed" if version is None else f"{need.name} is {version}"
    wanted = f", and {owner} needs {need.name}{need.specifier}"
    return Finding("packages", "bad", what + wanted, f"python -m pip install '{need.name}{need.specifier}'")


def _field(name: str, key: str = "Version") -> str | None:
    """A line of a distribution's metadata; None where there is no such line, or no such distribution."""
    try:
        fields = metadata.metadata(name)
        return fields[key] if key in fields else None  # noqa: SIM401 - it has no get for type checkers
    except metadata.PackageNotFoundError:
        return None


def libraries() -> Iterator[Finding]:
    """Import both; call an operator that torchvision's compiled part brings, which needs the torch it was built for."""
    began = monotonic()
    try:
        torch = import_module("torch")
    except Exception as error:
        yield Finding("torch", "bad", f"{_installed('torch')} cannot be imported: {_line(error)}", _AGAIN)
        return
    build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
    yield Finding("torch", "good", f"{torch.__version__}, built {build}, imported in {monotonic() - began:.1f} s")
    from ..files.weights_file import TRUST, WEAKNESS, reads_safely  # they import torch

    if not reads_safely(torch.__version__):
        found = f"{torch.__version__} cannot read pickles of weights safely ({WEAKNESS}): they are refused"
        advice = f"python -m pip install 'torch>=2.10', or take safetensors; {TRUST}=1 has them read nevertheless"
        yield Finding("torch", "note", found, advice)
    try:
        torchvision = import_module("torchvision")
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except Exception as error:
        found = f"{_installed('torchvision')} does not work with torch {torch.__version__}: {_line(error)}"
        yield Finding("torchvision", "bad", found, pairing(str(torch.__version__)))
    else:
        yield Finding("torchvision", "good", f"{torchvision.__version__}, works with this torch")


def pairing(torch_version: str) -> str:
    """Which torchvision goes with a torch: 0.(N + 15) with 2.N, built for the same CUDA or both without."""
    major, minor = torch_version.split(".")[:2]
    wanted = f"torchvision==0.{int(minor) + 15}.*" if major == "2" else "torchvision"
    _, _, build = torch_version.partition("+")
    its = f" (its build is {build})" if build else ""
    return f"python -m pip install --force-reinstall --no-deps '{wanted}', from where torch came{its}"


def _installed(name: str) -> str:
    version = _field(name)
    return f"{name}, which is not installed," if version is None else f"{name} {version}"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def plugins() -> Iterator[Finding]:
    """What loading all plugins shows, as `aakit list-plugins` does."""
    registry = discover()
    owners = {component.plugin for component in registry.components.values()}
    if owners:
        count = f"{len(registry.components)} components of {len(owners)} plugins"
        yield Finding("plugins", "good", f"{count} ({', '.join(sorted({owner.package for owner in owners}))})")
    else:
        advice = "the built-in ones come with the package: python -m pip install --force-reinstall --no-deps aaclip-kit"
        yield Finding("plugins", "bad", "there is no component that could be used", advice)
    for (kind, name), claimants in registry.clashes.items():
        found = f"{kind} '{name}' is registered twice, by {' and '.join(map(str, claimants))}"
        yield Finding("plugins", "bad", found, "uninstall one of them")
    for failure in registry.failures:
        plugin = failure.plugin
        advice = f"mend or uninstall it (python -m pip uninstall {plugin.package}); {TRACEBACK}"
        yield Finding(f"plugin {plugin.name}", "bad", f"{plugin} cannot be used: {failure.reason}", advice)
    for plugin, seconds in registry.slow.items():
        advice = "nothing, if the disk was slow; else its own module should import torch only where it needs it"
        yield Finding(f"plugin {plugin.name}", "note", f"{plugin} took {seconds:.1f} s to load", advice)


def weights() -> Iterator[Finding]:
    """Build the embedded model; then ask every plugin that offers a backbone which weights are there."""
    registry = discover()
    chosen = registry.get("backbone", EMBEDDED)
    try:
        backbone = chosen.build(chosen.options())
    except UserError as error:
        found = ": ".join(filter(None, (error.where, error.problem)))
        yield Finding("embedded model", "bad", found, _UNUSABLE if error.fix == MEND else error.fix)
        return
    size = sum(weight.numel() for weight in backbone.parameters()) / 1e6
    yield Finding("embedded model", "good", f"loads, {size:.1f} million weights, {backbone.image_size} px")
    components = registry.components.items()
    modules = dict.fromkeys(component.plugin.module for (kind, _), component in components if kind == "backbone")
    there = [name for module in modules for name in getattr(import_module(module), AT_HAND, list)()]
    found = ", ".join(there) or "none; what an experiment names is fetched when it first runs"
    yield Finding("fetched weights", "good", found)


def variables() -> Iterator[Finding]:
    """Those that are set, and what is wrong with one."""
    given = {name: os.environ[name] for name in TELLING if name in os.environ}
    words = ", ".join(f"{name}={value}" for name, value in given.items())
    yield Finding("variables", "good", words or f"none is set of {', '.join(TELLING)}")
    real = given.get("AAKIT_REALDATA")
    if real and not Path(real).expanduser().is_dir():
        found = f"AAKIT_REALDATA names {real}, where there is no folder"
        yield Finding("variables", "bad", found, "set it to the folder of real images, or unset it")
    if given.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        found = "HF_HUB_OFFLINE is set: weights that are not on this machine are not fetched"
        yield Finding("variables", "note", found, "unset it to let experiments fetch the weights that they name")
    if given.get("TRITON_INTERPRET") == "1":
        found = "TRITON_INTERPRET is 1: kernels run in Triton's interpreter, which is slow and for tests"
        yield Finding("variables", "note", found, "unset it for runs")
