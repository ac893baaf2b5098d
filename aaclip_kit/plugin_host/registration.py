"""What a plugin's module registers: its hooks are called once, and everything that they give is checked."""

import inspect
from difflib import get_close_matches
from typing import Any

import pluggy

from ..contracts.data import OWN_KEYS
from ..contracts.options import Options
from . import hookspecs
from .api_version import check_api
from .registry import KINDS, Component, Kind, Plugin

HOOKS: dict[str, Kind] = {
    "register_backbones": "backbone",
    "register_prompts": "prompts",
    "register_attention_stages": "attention-stage",
    "register_heads": "head",
    "register_references": "reference",
    "register_losses": "loss",
    "register_schedulers": "scheduler",
    "register_data_sets": "data-set",
    "register_trackers": "tracker",
}

RESERVED: dict[Kind, frozenset[str]] = {kind: frozenset({"use"}) for kind in KINDS} | {
    "loss": frozenset({"use", *OWN_KEYS["losses"]}),
    "data-set": frozenset({"use", *OWN_KEYS["data"]}),
}
"""Keys of a component's table that are the engine's own."""


def collect(staged: list[Component], plugin: Plugin, module: Any) -> None:
    """Add to `staged` what the hooks of a plugin's module register. Raises whatever is wrong with the plugin.

    One manager a plugin: a hook that raises, or is misspelt, is then known to be this plugin's.
    """
    check_api(module)
    _check_hook_names(module)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    manager.register(module, name=plugin.name)
    manager.check_pending()
    for hook, kind in HOOKS.items():
        getattr(manager.hook, hook)(register=_collector(staged, kind, plugin))
    if not staged:
        raise ValueError(f"module {plugin.module} implements no hook; known hooks: {', '.join(HOOKS)}")


def _check_hook_names(module: Any) -> None:
    """Refuse hooks that pluggy would pass over in silence: misspelt ones, and those without the mark."""
    mark = f"{hookspecs.PROJECT}_impl"
    for name, value in inspect.getmembers(module, inspect.isroutine):
        marked, own = hasattr(value, mark), value.__module__ == getattr(module, "__name__", None)
        near = get_close_matches(name, HOOKS, n=1, cutoff=0.5 if marked else 0.85)
        if name in HOOKS and own and not marked:
            raise TypeError(f"{name} lacks the decorator @aaclip_kit.hookimpl")
        if name not in HOOKS and (marked or (own and near)):
            hint = f"did you mean {near[0]}? " if near else ""
            raise TypeError(f"there is no hook {name}; {hint}known hooks: {', '.join(HOOKS)}")


def _collector(staged: list[Component], kind: Kind, plugin: Plugin) -> hookspecs.Register:
    def register(name: str, factory: Any, options: type[Options]) -> None:
        if not (isinstance(name, str) and name):
            raise TypeError(f"the name of a {kind} must be a text, not {name!r}")
        if any((component.kind, component.name) == (kind, name) for component in staged):
            raise ValueError(f"{kind} '{name}' is registered twice by the same plugin")
        if not (isinstance(options, type) and issubclass(options, Options)):
            raise TypeError(f"options of {kind} '{name}' must be a subclass of aaclip_kit.Options, not {options!r}")
        if not (callable(factory) or (isinstance(factory, str) and ":" in factory)):
            raise TypeError(f"factory of {kind} '{name}' must be callable or 'module:attribute', not {factory!r}")
        if taken := RESERVED[kind] & options.model_fields.keys():
            raise TypeError(f"options of {kind} '{name}' may not have a key '{min(taken)}': the engine reads it")
        staged.append(Component(kind, name, factory, options, plugin))

    return register
