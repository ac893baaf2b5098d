"""Finding plugins: each entry point is loaded on its own, so that a broken one harms only those who name it."""

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

import pluggy

from . import hookspecs
from .contracts.options import Options
from .registry import Component, Failure, Kind, Plugin, Registry

GROUP = "aaclip_kit"

HOOKS: dict[str, Kind] = {
    "register_backbones": "backbone",
    "register_attention_stages": "attention-stage",
    "register_losses": "loss",
    "register_schedulers": "scheduler",
    "register_data_sets": "data-set",
}


def discover(found: Iterable[EntryPoint] | None = None) -> Registry:
    """Load every plugin of the entry-point group (or those given) into a new registry."""
    registry = Registry()
    for entry in sorted(entry_points(group=GROUP) if found is None else found, key=lambda entry: entry.name):
        plugin = _describe(entry)
        try:
            module = entry.load()
            _register(registry, plugin, module)
        except Exception as error:
            registry.failures.append(Failure(plugin, f"{type(error).__name__}: {error}"))
    return registry


def _describe(entry: EntryPoint) -> Plugin:
    package, version = (entry.dist.name, entry.dist.version) if entry.dist else ("unknown", "unknown")
    return Plugin(entry.name, entry.module, package, version)


def _register(registry: Registry, plugin: Plugin, module: ModuleType) -> None:
    """One manager a plugin: a hook that raises, or is misspelt, is then known to be this plugin's."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name=plugin.name)
    manager.check_pending()
    staged: list[Component] = []
    for hook, kind in HOOKS.items():
        getattr(manager.hook, hook)(register=_collector(staged, kind, plugin))
    if not staged:
        raise ValueError(f"module {plugin.module} implements no hook; known hooks: {', '.join(HOOKS)}")
    for component in staged:
        registry.add(component)


def _collector(staged: list[Component], kind: Kind, plugin: Plugin) -> hookspecs.Register:
    def register(name: str, factory: Any, options: type[Options]) -> None:
        if not (isinstance(options, type) and issubclass(options, Options)):
            raise TypeError(f"options of {kind} '{name}' must be a subclass of aaclip_kit.Options, not {options!r}")
        if not (callable(factory) or (isinstance(factory, str) and ":" in factory)):
            raise TypeError(f"factory of {kind} '{name}' must be callable or 'module:attribute', not {factory!r}")
        staged.append(Component(kind, name, factory, options, plugin))

    return register
