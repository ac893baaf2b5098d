"""`aakit new-plugin`."""

import shlex
from importlib.util import find_spec
from pathlib import Path

import typer

from ..contracts.errors import UserError, nearest_hint
from ..plugin_host.discovery import discover
from ..plugin_host.registry import KINDS, Kind
from .terminal import say


def new_plugin(
    name: str = typer.Argument(help="Name of the package, such as my-attention."),
    kind: str = typer.Option("attention-stage", "--kind", help=f"What it offers: {', '.join(KINDS)}."),
    out: Path = typer.Option(Path(), "--out", help="Folder to write it into; default the one that you are in."),
) -> None:
    """Write a plugin package that works at once, to be edited: component, tests, experiment."""
    from ..scaffold import Package, write_package

    package = Package(name, _kind(kind))
    files = write_package(package, out, discover())
    folder, source = out / name, "." if find_spec("pytest") else "'.[test]'"
    say(f"{folder}: {kind} '{package.module}', {len(files)} files\n")
    say(f"    cd {shlex.quote(str(folder))}")
    say(f"    pip install -e {source} && pytest && aakit run experiment.toml\n")
    say(f"Edit first: {package.first}; its options stand in {package.module}/__init__.py")


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if kind == text:
            return kind
    fix = f"{nearest_hint(text, KINDS)}known: {', '.join(KINDS)}"
    raise UserError(f"there is no kind of plugin called '{text}'", where="--kind", fix=fix)
