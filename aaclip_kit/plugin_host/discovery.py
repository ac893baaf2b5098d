"""Finding plugins: each entry point is loaded on its own, so that a broken one harms only those who name it."""

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from importlib.metadata import EntryPoint, entry_points
from threading import Thread
from time import monotonic
from typing import Final

from .registration import collect
from .registry import Component, Failure, Plugin, Registry

GROUP: Final = "aaclip_kit"

PATIENCE: Final = 30.0
"""Seconds after which a plugin that is still loading is left behind."""

SLOW: Final = 1.0
"""Seconds of loading above which `aakit list-plugins` remarks on a plugin."""


def discover(found: Iterable[EntryPoint] | None = None, patience: float = PATIENCE) -> Registry:
    """Load every plugin of the entry-point group (or those given) into a new registry."""
    registry = Registry()
    for entry in sorted(entry_points(group=GROUP) if found is None else found, key=lambda entry: entry.name):
        plugin, began = _describe(entry), monotonic()
        staged, error = _load(entry, plugin, patience)
        if (seconds := monotonic() - began) > SLOW:
            registry.slow[plugin] = seconds
        if error is not None:
            offered = tuple((component.kind, component.name) for component in staged)
            registry.failures.append(Failure(plugin, error, offered))
            continue
        for component in staged:
            registry.add(component)
    return registry


def _load(entry: EntryPoint, plugin: Plugin, patience: float) -> tuple[list[Component], BaseException | None]:
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
