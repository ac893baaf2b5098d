"""`aakit list-plugins` and `aakit show`: what is installed, and its options in words."""

import json
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer import Argument, Option

from ..contracts.errors import unknown
from ..plugin_host.discovery import discover
from ..plugin_host.registry import KINDS, Component, Plugin, Registry
from .terminal import Debugging, PlainConsole, plain_table, say, say_lines, say_table

EXPERIMENT_HELP = "Experiment file whose plugin files are loaded too."

_NAMES = {str: "text", Path: "path"}
_LISTS = (tuple, list, set, frozenset)
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


def list_plugins(
    as_json: bool = Option(False, "--json", help="Print JSON."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
) -> None:
    """List every component that is installed, and every plugin that failed to load, with the reason."""
    registry = registry_with(experiment)
    if as_json:
        say_lines(json.dumps(_as_record(registry), indent=2))
        return
    _list_components(_sorted(registry))
    console = PlainConsole()
    for problem in _problems(registry):
        console.print_line(f"not usable: {problem}", style="red")
    for plugin, seconds in registry.slow.items():
        fix = "a plugin's own module should not import torch"
        console.print_line(f"slow: plugin {plugin} took {seconds:.1f} s to load; {fix}", style="yellow")
    if Debugging.on:
        for failure in registry.failures:
            traceback.print_exception(failure.error)


def _list_components(components: Sequence[Component]) -> None:
    """On a terminal a table for each package; else one line a component, for grep and its like."""
    if not sys.stdout.isatty():
        headings = ("kind", "name", "package", "version", "what it is")
        rows = ((one.kind, one.name, one.plugin.package, one.plugin.version, one.description) for one in components)
        return say_table(headings, rows)
    packages: dict[str, list[Component]] = {}
    for one in components:
        packages.setdefault(f"{one.plugin.package} {one.plugin.version}", []).append(one)
    for package, of_it in packages.items():
        say(package)
        say_table(("kind", "name", "what it is"), [(one.kind, one.name, one.description) for one in of_it])


def show(
    name: str = Argument(help="Name of a component, as list-plugins prints it."),
    experiment: Path | None = Option(None, "--experiment", help=EXPERIMENT_HELP),
) -> None:
    """Show a component's options: types, defaults, bounds, meaning."""
    registry = registry_with(experiment)
    named = [component for component in _sorted(registry) if component.name == name]
    if not named:
        for kind in KINDS:
            if (kind, name) in registry.clashes:
                registry.get(kind, name)
        known = sorted({component.name for component in registry.components.values()})
        raise unknown(name, "component", known)
    console = PlainConsole()
    for component in named:
        console.print(f"{component.kind} {component.name}", style="bold", markup=False)
        console.print(f"{component.description}\nfrom {component.plugin}", markup=False, highlight=False)
        rows = ((option, *describe_option(info)) for option, info in component.options.model_fields.items())
        console.print(plain_table("option", "type", "default", "meaning", rows=rows))


def registry_with(experiment: Path | None) -> Registry:
    """What is installed, and what the plugin files of an experiment file offer. Raises `UserError`."""
    registry = discover()
    if experiment is None:
        return registry
    from ..experiment import read
    from ..experiment.toml_file import plugin_files
    from ..plugin_host.discovery import with_plugin_files

    return with_plugin_files(registry, plugin_files(read(experiment)), f"{experiment}: plugins")


def _sorted(registry: Registry) -> list[Component]:
    return sorted(registry.components.values(), key=lambda one: (KINDS.index(one.kind), one.name))


def _problems(registry: Registry) -> list[str]:
    clashes = [
        f"{kind} '{name}' is registered twice, by {' and '.join(map(str, owners))}"
        for (kind, name), owners in registry.clashes.items()
    ]
    return [*clashes, *(f"plugin {failure.plugin}: {failure.reason}" for failure in registry.failures)]


def _as_record(registry: Registry) -> dict[str, Any]:
    components = [
        {"kind": one.kind, "name": one.name, "description": one.description, **_origin(one.plugin)}
        for one in _sorted(registry)
    ]
    failures = [
        {"plugin": failure.plugin.name, **_origin(failure.plugin), "reason": failure.reason,
         "offered": [{"kind": kind, "name": name} for kind, name in failure.offered]}
        for failure in registry.failures
    ]  # fmt: skip
    slow = {plugin.name: round(seconds, 3) for plugin, seconds in registry.slow.items()}
    return {"components": components, "problems": _problems(registry), "failures": failures, "slow": slow}


def _origin(plugin: Plugin) -> dict[str, str]:
    return {"package": plugin.package, "version": plugin.version, "module": plugin.module}


def describe_option(info: FieldInfo) -> tuple[str, str, str]:
    """Put an option in words: the type as a TOML file has it, with its bounds; the default; the meaning."""
    return _type(info.annotation, info.metadata), _default(info), info.description or ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None:
        return "unset"
    return "its defaults" if isinstance(value, BaseModel) else json.dumps(value, default=str)


def _type(annotation: Any, metadata: Iterable[Any]) -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(inside[0], [*_flat(inside[1:]), *metadata])
    if origin in (Union, UnionType):
        return " | ".join(_type(part, metadata) for part in inside if part is not NoneType)
    if origin is Literal:
        return " | ".join(json.dumps(value) for value in inside)
    if origin in _LISTS and inside:
        return f"list of {_entries(inside)}{_length(metadata)}"
    if origin is dict:
        return "table" if inside[1] is Any else f"table of {_type(inside[1], ())}".replace("of table", "of tables")
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    name = _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))
    return f"{name}{_bounds(metadata)}"


def _entries(inside: tuple[Any, ...]) -> str:
    """Types of a list's entries; a tuple of fixed length says how many."""
    names = [_type(part, ()) for part in inside if part is not ...]
    if len(names) > 1 and len(set(names)) == 1:
        return f"{len(names)} {names[0]}"
    return ", ".join(names)


def _bounds(metadata: Iterable[Any]) -> str:
    metadata = list(metadata)
    parts = [f" {sign} {getattr(item, key)}" for item in metadata for key, sign in _SIGNS.items() if hasattr(item, key)]
    patterns = [f" matching {item.pattern}" for item in metadata if getattr(item, "pattern", None)]
    return ",".join([*parts, *patterns]) or _length(metadata)


def _length(metadata: Iterable[Any]) -> str:
    least = [item.min_length for item in metadata if hasattr(item, "min_length")]
    return "".join(", not empty" if count == 1 else f", at least {count} long" for count in least)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    """Constraints of an `Annotated` type, where pydantic's `Field` is a holder of constraints."""
    for item in metadata:
        yield from item.metadata if isinstance(item, FieldInfo) else [item]
