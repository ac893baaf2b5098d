"""Writes three parts of the documentation from the code.

They are docs/reference/experiment-file.md (experiment file, components and their options), docs/reference/api.md (the
public API) and the tables of checks in docs/plugins/kinds.

python docs/generate.py [--check]

With --check nothing is written; exit code 1 says that the file is not what the code gives.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from api_page import api_page
from pydantic import BaseModel

from aaclip_kit.cli.list_plugins import describe_option
from aaclip_kit.contracts.data import Selection
from aaclip_kit.experiment.schema import PUBLISHED_SWITCHES, DataTable, ExperimentFile, Switches
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import KINDS, Component, Kind
from aaclip_kit.testing import checks_of

REFERENCE = Path(__file__).with_name("reference") / "experiment-file.md"
CONTRACTS = Path(__file__).parent / "plugins" / "kinds"
BEGIN, END = "<!-- begin contract -->\n", "<!-- end contract -->"
PACKAGE = "aaclip-kit"

HEAD = """\
# The experiment file

Written by `docs/generate.py` from the code; `make docs` renews it. A `text` and a `path` stand in quotes in the file; a
key whose default is `unset` has no value unless it is given.
"""

TABLES = """\
## Tables of the engine

These are the engine's own tables. The tables of components (`[backbone]`, `[prompts]`, `[stages.NAME]`, `[head]`,
`[reference]`, `[losses.text.NAME]`, `[losses.vision.NAME]`, `[losses.both.NAME]`, `[scheduler]`, `[data.train]`,
`[data.validation]`, `[data.reference]`, `[data.test]`) name a component with `use`; their other keys are its options,
listed under Components. `[prompts]` and `[head]` may leave `use` out, which is then `ensemble` and `projections`. The
table of a loss may also hold `weight`, a finite number of at least 0 (by default 1), by which its terms are multiplied,
and that of a data set the keys of `[data.ROLE]`. Any key can be overridden on the command line with `--set
table.key=value`; a new `use` discards the component's options, but for a stage's `tower` and `after`. A role of several
data sets has them as `[[data.train]]`, again and again; for `--set` and in messages their keys are `data.train.0.root`,
`data.train.1.root` and so on.
"""

COMPONENTS = """\
## Components

What the built-in plugins offer. `aakit list-plugins` lists what is installed, other packages' components included, and
`aakit show NAME` prints the same tables as this page.
"""

API = """\
## Public API

What a plugin or a program may import has a page of its own: [the public API](api.md).
"""


def reference() -> str:
    """The whole page."""
    parts = [HEAD, TABLES, *engine_tables(), COMPONENTS, *components(), API]
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


def with_contract(page: str, kind: Kind) -> str:
    """A page of a kind with the table of its checks between the two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [[check.id, check.name.replace("-", " "), check.promise, check.mend] for check in checks_of(kind)]
    return f"{before}{BEGIN}{_table(['id', 'check', 'promise', 'how to mend it'], rows)}{END}{after}"


def _table(heads: list[str], rows: Iterable[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`"


def main(arguments: list[str] | None = None, target: Path = REFERENCE, contracts: Path = CONTRACTS) -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is stale")
    check, pages = parser.parse_args(arguments).check, {target: reference(), target.with_name("api.md"): api_page()}
    for kind in KINDS:
        page = contracts / f"{kind}.md"
        pages[page] = with_contract(page.read_text(encoding="utf-8"), kind)
    stale = [page for page, text in pages.items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    for page in stale:
        if check:
            print(f"{page.name} is stale: run python docs/generate.py", file=sys.stderr)
        else:
            page.write_text(pages[page], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
