"""Finding plugins: entry points and plugin files, each loaded alone, so that a broken one harms only who names it."""

import hashlib
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from threading import Thread
from time import monotonic
from types import ModuleType
from typing import Final

from ..contracts.errors import UserError, UserErrors
from ..files.plain_file import read_plain
from .registration import collect
from .registry import TRACEBACK, Component, Failure, Plugin, Registry

GROUP: Final = "aaclip_kit"

PATIENCE: Final = 30.0
"""Seconds after which a plugin that is still loading is left behind."""

SLOW: Final = 1.0
"""Seconds of loading above which `aakit list-plugins` remarks on a plugin."""

_MOST_BYTES: Final = 16 << 20


def discover(entries: Iterable[EntryPoint] | None = None, patience: float = PATIENCE) -> Registry:
    """Load every plugin of the entry-point group (or those given) into a new registry."""
    registry = Registry()
    for entry in sorted(entry_points(group=GROUP) if entries is None else entries, key=lambda entry: entry.name):
        plugin, began = _describe(entry), monotonic()
        staged, error = _loaded(entry, plugin, patience)
        if (seconds := monotonic() - began) > SLOW:
            registry.slow[plugin] = seconds
        if error is not None:
            offered = tuple((component.kind, component.name) for component in staged)
            registry.failures.append(Failure(plugin, error, offered))
            continue
        for component in staged:
            registry.add(component)
    return registry


def _loaded(entry: EntryPoint, plugin: Plugin, patience: float) -> tuple[list[Component], BaseException | None]:
    """What a plugin registers, and what went wrong.

    In a thread of its own, for a thread can be left behind, while an import that is interrupted may leave half-imported
    packages to everybody. What a plugin prints goes to standard error: standard output is the command's.
    """
    staged: list[Component] = []
    outcome: list[BaseException | None] = []

    def load() -> None:
        try:
            collect(staged, plugin, entry.load())
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    thread = Thread(target=load, name=f"load {entry.name}", daemon=True)
    with redirect_stdout(sys.stderr):
        thread.start()
        thread.join(patience)
    return list(staged), outcome[0] if outcome else TimeoutError(f"was not loaded within {patience:g} seconds")


def _describe(entry: EntryPoint) -> Plugin:
    # Not `entry.module`, which raises for a malformed value; and a distribution's metadata may be damaged.
    module = entry.value.partition(":")[0].strip()
    try:
        package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
    except Exception:
        package, version = "unknown", "unknown"
    return Plugin(entry.name, module, package, version)


def with_plugin_files(registry: Registry, files: Sequence[Path], where: str) -> Registry:
    """The registry with what these files register beside its own; without files, the same one.

    Raises `UserErrors`: a file that is not there, or whatever is wrong with it as a plugin. `where` names the key.
    """
    if not files:
        return registry
    extended, faults = registry.copy(), list[UserError]()
    for file in files:
        try:
            for component in _components_of_file(file, where):
                extended.add(component)
        except UserError as fault:
            faults.append(fault)
    if faults:
        raise UserErrors(faults)
    return extended


def _components_of_file(file: Path, where: str) -> list[Component]:
    fix = "give the path of a Python file; it starts from the experiment file's folder"
    try:
        content = read_plain(file, most=_MOST_BYTES)
    except UserError as error:
        raise UserError(f"{file} {error.problem}", where=where, fix=fix) from None
    digest = hashlib.sha256(content).hexdigest()[:12]
    module = f"aakit_file_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}_{digest}"
    plugin = Plugin(file.stem, module, file.name, f"sha256:{digest}")
    staged: list[Component] = []
    try:
        collect(staged, plugin, _module_of_file(file, module, content))
    except (Exception, SystemExit) as error:
        problem = f"plugin file {file} failed to load: {Failure(plugin, error).reason}"
        raise UserError(problem, where=where, fix=f"mend it; {TRACEBACK}") from error
    return staged


def _module_of_file(file: Path, name: str, content: bytes) -> ModuleType:
    """Run a file as a module, once for each content; never its byte code, which may be of an earlier content."""
    if name in sys.modules:
        return sys.modules[name]
    specification = spec_from_file_location(name, file)
    if specification is None:
        raise ImportError("is no Python file: its name must end in .py")
    module = module_from_spec(specification)
    sys.modules[name] = module
    try:
        exec(compile(content, file, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module
