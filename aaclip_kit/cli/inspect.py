"""`aakit list-plugins` and `aakit show`: what is installed, and what its options mean."""

import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from ..contracts.errors import UserError, nearest_hint
from ..plugin_host.discovery import discover
from ..plugin_host.registry import KINDS, Component, Registry
from .debug import debugging
from .describe import describe_option
from .terminal import PlainConsole, say, say_line, say_table

EXPERIMENT_HELP = "Experiment file whose plugin files are loaded too."


def list_plugins(
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    experiment: Path | None = typer.Option(None, "--experiment", help=EXPERIMENT_HELP),
) -> None:
    """List every component that is installed, and every plugin that failed to load, with the reason."""
    registry = _registry(experiment)
    if as_json:
        say(json.dumps(_as_record(registry), indent=2))
        return
    _list_components(_sorted(registry))
    console = PlainConsole(highlight=False)
    for problem in _problems(registry):
        console.print(f"not usable: {problem}", markup=False, style="red", soft_wrap=True)
    for plugin, seconds in registry.slow.items():
        fix = "a plugin's own module should not import torch"
        told = f"slow: plugin {plugin} took {seconds:.1f} s to load; {fix}"
        console.print(told, markup=False, style="yellow", soft_wrap=True)
    if debugging():
        for failure in registry.failures:
            traceback.print_exception(failure.error)


def _list_components(components: Sequence[Component]) -> None:
    """On a terminal a table for each package; else one line a component, for grep and its like."""
    if not sys.stdout.isatty():
        for one in components:
            say_line(one.kind, one.name, one.plugin.package, one.plugin.version, one.description)
        return
    packages: dict[str, list[Component]] = {}
    for one in components:
        packages.setdefault(f"{one.plugin.package} {one.plugin.version}", []).append(one)
    for package, of_it in packages.items():
        say(package)
        say_table(("kind", "name", "what it is"), [(one.kind, one.name, one.description) for one in of_it])


def show(
    name: str = typer.Argument(help="Name of a component, as list-plugins prints it."),
    experiment: Path | None = typer.Option(None, "--experiment", help=EXPERIMENT_HELP),
) -> None:
    """Show a component's options: types, defaults, bounds, meaning."""
    registry = _registry(experiment)
    found = [component for component in _sorted(registry) if component.name == name]
    if not found:
        _refuse_unknown(registry, name)
    console = PlainConsole()
    for component in found:
        console.print(f"{component.kind} {component.name}", style="bold", markup=False)
        console.print(f"{component.description}\nfrom {component.plugin}", markup=False, highlight=False)
        console.print(_options_table(component))


def _registry(experiment: Path | None) -> Registry:
    registry = discover()
    if experiment is None:
        return registry
    from ..experiment import read
    from ..experiment.toml_file import plugin_files
    from ..plugin_host.discovery import with_plugin_files

    return with_plugin_files(registry, plugin_files(read(experiment)), f"{experiment}: plugins")


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
    failures = [
        {
            "plugin": failure.plugin.name,
            "package": failure.plugin.package,
            "version": failure.plugin.version,
            "module": failure.plugin.module,
            "reason": failure.reason,
            "offered": [{"kind": kind, "name": name} for kind, name in failure.offered],
        }
        for failure in registry.failures
    ]
    slow = {plugin.name: round(seconds, 3) for plugin, seconds in registry.slow.items()}
    return {"components": components, "problems": _problems(registry), "failures": failures, "slow": slow}
