"""`aakit init`: the experiment files that come with the toolkit, listed and written out to be run and edited."""

import os
import shlex
import sys
import tomllib
from collections.abc import Mapping
from importlib.resources import files as packaged
from pathlib import Path
from typing import Any, Final

import typer

from ..contracts.errors import UserError, nearest_hint, not_writable
from ..files.whole_file import write_whole_together
from .terminal import say, say_line, say_table

EXPERIMENTS: Final = "aaclip_kit_experiments"
"""The package that the files lie in: the folder experiments/ of a clone."""


def init(
    name: str | None = typer.Argument(None, help="Name of a shipped experiment; left out, all are listed."),
    file: Path | None = typer.Argument(None, help="File to write; default NAME.toml."),
) -> None:
    """Write a shipped experiment file with its comments, or list them all. Overwrites nothing."""
    texts = shipped()
    if name is None:
        return _list(texts)
    name = name.removesuffix(".toml")
    if name not in texts:
        fix = f"{nearest_hint(name, list(texts))}known: {', '.join(texts)}"
        raise UserError(f"there is no shipped experiment called '{name}'", where="NAME", fix=fix)
    target, tables = file or Path(f"{name}.toml"), tomllib.loads(texts[name])
    beside = {target.parent / other: texts[Path(other).stem] for other in named_files(tables)}
    kept = [path for path in beside if os.path.lexists(path)]
    _write(target, texts[name], {path: text for path, text in beside.items() if path not in kept})
    for path in kept:
        say(f"{path} is there already, and {target} uses it as it is")
    say(f"run it: aakit {'ablate' if 'variants' in tables else 'run'} {shlex.quote(str(target))}")


def _list(texts: Mapping[str, str]) -> None:
    rows = [(name, description(text)) for name, text in texts.items()]
    if sys.stdout.isatty():
        return say_table(("name", "what it runs"), rows)
    for row in rows:
        say_line(*row)


def _write(target: Path, text: str, beside: Mapping[Path, str]) -> None:
    """Write the file and those that it names, all or none. Raises `UserError` where it exists or cannot be written."""
    fix = "name another file: aakit init NAME FILE"
    if os.path.lexists(target):
        raise UserError("exists already", where=str(target), fix=fix)
    if target in beside:
        raise UserError("is the name of a file that it uses itself", where=str(target), fix=fix)
    try:
        write_whole_together({target: text, **beside})
    except OSError as error:
        raise not_writable(target, error, "name a file in a folder that you may write to") from None
    for path in (target, *beside):
        say(f"wrote {path}")


def shipped() -> dict[str, str]:
    """The text of each shipped file by its name, without `.toml`. Raises `UserError` where none is installed."""
    try:
        found = [path for path in packaged(EXPERIMENTS).iterdir() if path.name.endswith(".toml")]
    except ModuleNotFoundError:
        fix = "install the toolkit again, in a clone of it: python -m pip install ."
        raise UserError("no experiment files are installed", where=EXPERIMENTS, fix=fix) from None
    return {path.name.removesuffix(".toml"): path.read_text("utf-8") for path in sorted(found, key=lambda it: it.name)}


def description(text: str) -> str:
    """The first line of a file, which is a comment and says what it runs."""
    return text.partition("\n")[0].removeprefix("#").strip()


def named_files(tables: Mapping[str, Any]) -> list[str]:
    """The files beside it that an ablation file names, each once; none for an experiment file."""
    variants = tables.get("variants", {}).values()
    return list(dict.fromkeys(filter(None, (tables.get("base"), *(table.get("file") for table in variants)))))
