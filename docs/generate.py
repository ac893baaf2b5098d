"""Writes docs/reference.md from the code: experiment file, components and their options, public API.

python docs/generate.py [--check]

With --check nothing is written; exit code 1 says that the file is not what the code gives.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel

import aaclip_kit
from aaclip_kit.cli.describe import describe_option
from aaclip_kit.discovery import discover
from aaclip_kit.experiment.schema import PUBLISHED_SWITCHES, DataTable, ExperimentFile, Selection, Switches
from aaclip_kit.registry import KINDS, Component

REFERENCE = Path(__file__).with_name("reference.md")
PACKAGE = "aaclip-kit"

HEAD = """\
# Reference

Written by `docs/generate.py` from the code; `make docs` renews it. A `text` and a `path` stand in quotes in the file; a
key whose default is `unset` has no value unless it is given.
"""

TABLES = """\
## The experiment file

These are the engine's own tables. The tables of components (`[backbone]`, `[stages.NAME]`, `[losses.text.NAME]`,
`[losses.vision.NAME]`, `[scheduler]`, `[data.train]`, `[data.validation]`, `[data.test]`) name a component with `use`;
their other keys are its options, listed under Components. The table of a loss may also hold `weight`, a finite number
of at least 0 (by default 1), by which its terms are multiplied, and that of a data set the keys of `[data.ROLE]`. Any
key can be overridden on the command line with `--set table.key=value`; a new `use` discards the component's options.
"""

COMPONENTS = """\
## Components

What the built-in plugins offer. `aakit list-plugins` lists what is installed, other packages' components included, and
`aakit show NAME` prints the same tables as this page.
"""

API = """\
## Public API

Everything that a plugin may import, from `aaclip_kit` itself. [plugins.md](plugins.md) tells how it fits together.
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD, TABLES, *engine_tables(), COMPONENTS, *components(), API, public_api()]
    return "\n".join(parts)


def engine_tables() -> Iterator[str]:
    """The top level of the experiment file, then each table that the engine owns."""
    yield f"### Top level\n\n{inspect.getdoc(ExperimentFile)}\n\n{options_table(ExperimentFile)}"
    for name, info in ExperimentFile.model_fields.items():
        model = info.annotation
        if isinstance(model, type) and issubclass(model, BaseModel):
            published = PUBLISHED_SWITCHES if model is Switches else None
            yield f"### [{name}]\n\n{inspect.getdoc(model)}\n\n{options_table(model, published)}"
            if model is DataTable:
                yield f"### [data.ROLE]\n\n{inspect.getdoc(Selection)}\n\n{options_table(Selection)}"


def components() -> Iterator[str]:
    """Each built-in component with its options, kind after kind."""
    found = [part for part in discover().components.values() if part.plugin.package == PACKAGE]
    for component in sorted(found, key=lambda part: (KINDS.index(part.kind), part.name)):
        yield f"### {component.kind} `{component.name}`\n\n{component.description}\n\n{_options_of(component)}"


def _options_of(component: Component) -> str:
    return options_table(component.options) if component.options.model_fields else "No options.\n"


def options_table(model: type[BaseModel], published: dict[str, object] | None = None) -> str:
    """Key, type with bounds, default and meaning of each field; the published values where they are given."""
    heads = ["key", "type", "default", *(["published"] if published else []), "meaning"]
    rows = []
    for name, info in model.model_fields.items():
        kind, default, meaning = describe_option(info)
        also = [_code(json.dumps(published[name]))] if published else []
        rows.append([_code(name), _code(kind), _code(default), *also, meaning])
    return _table(heads, rows)


def public_api() -> str:
    """Each public name and the first line of its docstring."""
    said = dict(_docstrings())
    return _table(["name", "what it is"], [[_code(name), said[name]] for name in aaclip_kit.__all__])


def _docstrings() -> Iterator[tuple[str, str]]:
    """First docstring line of every top-level name of the modules that the public API comes from.

    Read from the source: a constant has no docstring of its own, only the text below it.
    """
    root = Path(aaclip_kit.__file__).parent
    others = [root / "trained" / "model.py", root / "hookspecs.py", root / "__init__.py"]
    for file in [*sorted((root / "contracts").glob("*.py")), *others]:
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for node, below in zip(body, [*body[1:], None], strict=True):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield node.name, (ast.get_docstring(node) or "").partition("\n")[0]
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(below, ast.Expr):
                yield node.targets[0].id, str(ast.literal_eval(below.value)).partition("\n")[0]


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`"


def main(arguments: list[str] | None = None, target: Path = REFERENCE) -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the file is stale")
    text = reference()
    if not parser.parse_args(arguments).check:
        target.write_text(text, encoding="utf-8")
        return 0
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return 0
    print(f"{target.name} is stale: run python docs/generate.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
