"""`aakit init` and `aakit new-plugin`: files to begin with, a shipped experiment or a plugin package."""

import os
import shlex
import tomllib
from collections.abc import Mapping
from importlib.resources import files as packaged
from pathlib import Path
from typing import Any, Final

from typer import Argument, Option

from ..contracts.errors import UserError, unknown, writing
from ..files.whole_file import write_whole_together
from ..plugin_host.discovery import discover
from ..plugin_host.registry import KINDS, Kind
from .terminal import say, say_table

EXPERIMENTS: Final = "aaclip_kit_experiments"
"""The package that the files lie in: the folder experiments/ of a clone."""


def init(
    name: str | None = Argument(None, help="Name of a shipped experiment; left out, all are listed."),
    file: Path | None = Argument(None, help="File to write; default NAME.toml."),
) -> None:
    """Write a shipped experiment file with its comments, or list them all. Overwrites nothing."""
    texts = shipped()
    if name is None:
        # The first line of a file is a comment and says what it runs.
        rows = ((name, text.partition("\n")[0].removeprefix("#").strip()) for name, text in texts.items())
        return say_table(("name", "what it runs"), rows)
    name = name.removesuffix(".toml")
    if name not in texts:
        raise unknown(name, "shipped experiment", list(texts), "NAME")
    target, tables = file or Path(f"{name}.toml"), tomllib.loads(texts[name])
    beside = {target.parent / other: texts[Path(other).stem] for other in named_files(tables)}
    existing = [path for path in beside if os.path.lexists(path)]
    _write(target, texts[name], {path: text for path, text in beside.items() if path not in existing})
    for path in existing:
        say(f"{path} is there already, and {target} uses it as it is")
    say(f"run it: aakit {'ablate' if 'variants' in tables else 'run'} {shlex.quote(str(target))}")


def _write(target: Path, text: str, beside: Mapping[Path, str]) -> None:
    """Write the file and those that it names, all or none. Raises `UserError` where it exists or cannot be written."""
    fix = "name another file: aakit init NAME FILE"
    if os.path.lexists(target):
        raise UserError("exists already", where=str(target), fix=fix)
    if target in beside:
        raise UserError("is the name of a file that it uses itself", where=str(target), fix=fix)
    with writing(target, "name a file in a folder that you may write to"):
        for path in beside:
            path.parent.mkdir(exist_ok=True)
        write_whole_together({target: text, **beside})
    for path in (target, *beside):
        say(f"wrote {path}")


def shipped() -> dict[str, str]:
    """Return the text of each shipped file by its name, without `.toml`. Raises `UserError` where none is installed."""
    try:
        root = packaged(EXPERIMENTS)
    except ModuleNotFoundError:
        fix = "install the toolkit again, in a clone of it: python -m pip install ."
        raise UserError("no experiment files are installed", where=EXPERIMENTS, fix=fix) from None
    files = {path.name: path for folder in (root, root / "methods") for path in folder.iterdir()}
    names = sorted(name for name in files if name.endswith(".toml"))
    return {name.removesuffix(".toml"): files[name].read_text("utf-8") for name in names}


def named_files(tables: Mapping[str, Any]) -> list[str]:
    """Name the files beside it that an ablation file names, each once; none for an experiment file."""
    variants = tables.get("variants", {}).values()
    return list(dict.fromkeys(filter(None, (tables.get("base"), *(table.get("file") for table in variants)))))


def new_plugin(
    name: str = Argument(help="Name of the package, such as my-attention."),
    kind: str = Option("attention-stage", "--kind", help=f"What it offers: {', '.join(KINDS)}."),
    out: Path = Option(Path(), "--out", help="Folder to write it into; default the one that you are in."),
) -> None:
    """Write a plugin package that works at once, to be edited: component, tests, experiment."""
    from ..scaffold import Package, write_package

    package = Package(name, _kind(kind))
    files = write_package(package, out, discover())
    folder = out / name
    say(f"{folder}: {kind} '{package.module}', {len(files)} files")
    say("")
    say(f"    cd {shlex.quote(str(folder))}")
    say("    pip install -e '.[test]' && pytest && aakit run experiment.toml")
    say("")
    say(f"Edit first: {package.first}; its options stand in {package.module}/__init__.py")


def _kind(text: str) -> Kind:
    for kind in KINDS:
        if kind == text:
            return kind
    raise unknown(text, "kind of plugin", KINDS, "--kind")
