"""`aakit list-plugins` and `aakit show`: what is installed, and what its options mean."""

import json
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from ..contracts.errors import UserError, nearest_hint
from ..discovery import discover
from ..registry import KINDS, Component, Registry
from .describe import describe_option


def list_plugins(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """List every component that is installed, and every plugin that failed to load."""
    registry = discover()
    if as_json:
        print(json.dumps(_as_record(registry), indent=2))
        return
    console = Console()
    table = Table("kind", "name", "what it is", "package", box=None, header_style="bold", pad_edge=False)
    for component in _sorted(registry):
        package = f"{component.plugin.package} {component.plugin.version}"
        table.add_row(component.kind, component.name, component.description, package)
    console.print(table, markup=False)
    for problem in _problems(registry):
        console.print(f"not usable: {problem}", markup=False, style="red")


def show(name: str = typer.Argument(help="Name of a component, as list-plugins prints it.")) -> None:
    """Show a component's options: types, defaults, bounds, meaning."""
    registry = discover()
    found = [component for component in _sorted(registry) if component.name == name]
    if not found:
        _refuse_unknown(registry, name)
    console = Console()
    for component in found:
        console.print(f"{component.kind} {component.name}", style="bold", markup=False)
        console.print(f"{component.description}\nfrom {component.plugin}", markup=False, highlight=False)
        console.print(_options_table(component))


def _options_table(component: Component) -> Table:
    table = Table("option", "type", "default", "meaning", header_style="bold", box=None, pad_edge=False)
    for name, info in component.options.model_fields.items():
        table.add_row(*(_escape(text) for text in (name, *describe_option(info))))
    return table


def _escape(text: str) -> str:
    return text.replace("[", r"\[")


def _refuse_unknown(registry: Registry, name: str) -> None:
    for kind in KINDS:
        if (kind, name) in registry.clashes:
            registry.get(kind, name)
    known = sorted({component.name for component in registry.components.values()})
    fix = f"{nearest_hint(name, known)}known: {', '.join(known)}"
    raise UserError(f"there is no component called '{name}'", fix=fix)


def _sorted(registry: Registry) -> list[Component]:
    return sorted(registry.components.values(), key=lambda found: (KINDS.index(found.kind), found.name))


def _problems(registry: Registry) -> list[str]:
    clashes = [
        f"{kind} '{name}' is registered twice, by {' and '.join(map(str, owners))}"
        for (kind, name), owners in registry.clashes.items()
    ]
    return [*clashes, *(f"plugin {failure.plugin}: {failure.reason}" for failure in registry.failures)]


def _as_record(registry: Registry) -> dict[str, Any]:
    components = [
        {
            "kind": component.kind,
            "name": component.name,
            "description": component.description,
            "package": component.plugin.package,
            "version": component.plugin.version,
            "module": component.plugin.module,
        }
        for component in _sorted(registry)
    ]
    return {"components": components, "problems": _problems(registry)}
