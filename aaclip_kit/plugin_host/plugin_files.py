"""Plugin files: Python files that are loaded as plugins because an experiment file names them."""

import hashlib
import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from ..contracts.errors import UserError, UserErrors
from .registration import collect
from .registry import TRACEBACK, Component, Failure, Plugin, Registry


def with_plugin_files(registry: Registry, files: Sequence[Path], where: str) -> Registry:
    """The registry with what these files register beside its own; without files, the same one.

    Raises `UserErrors`: a file that is not there, or whatever is wrong with it as a plugin. `where` names the key.
    """
    if not files:
        return registry
    extended, faults = registry.copy(), list[UserError]()
    for file in files:
        try:
            for component in _components(file, where):
                extended.add(component)
        except UserError as fault:
            faults.append(fault)
    if faults:
        raise UserErrors(faults)
    return extended


def _components(file: Path, where: str) -> list[Component]:
    try:
        content = file.read_bytes()
    except OSError as error:
        fix = "give the path of a Python file; it starts from the experiment file's folder"
        raise UserError(f"{file} cannot be read ({error.strerror})", where=where, fix=fix) from None
    digest = hashlib.sha256(content).hexdigest()[:12]
    module = f"aakit_file_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{digest}"
    plugin = Plugin(file.stem, module, file.name, f"sha256:{digest}")
    staged: list[Component] = []
    try:
        collect(staged, plugin, _module(file, module))
    except (Exception, SystemExit) as error:
        problem = f"plugin file {file} failed to load: {Failure(plugin, error).reason}"
        raise UserError(problem, where=where, fix=f"mend it; {TRACEBACK}") from error
    return staged


def _module(file: Path, name: str) -> ModuleType:
    """The file as a module, run once for each content that it has."""
    if name in sys.modules:
        return sys.modules[name]
    specification = spec_from_file_location(name, file)
    if specification is None or specification.loader is None:
        raise ImportError("is no Python file: its name must end in .py")
    module = module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
