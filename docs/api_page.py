"""The page of the public API, read from the source: every name with its signature, members and documentation."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import aaclip_kit

HEAD = f"""\
# The public API

Version {aaclip_kit.API_VERSION}. Everything that a plugin or a program may import from `aaclip_kit`; nothing else is
promised. Written by `docs/generate.py` from the code: `make docs` renews it, and a test compares the two. For a
plugin's tests there is `aaclip_kit.testing` beside it ([plugins](../plugins/index.md#the-conformance-kit)).

A new minor version adds to this page; a new major one may change or take away. A name that will go works on for a minor
version at least, with a DeprecationWarning that says what to use in its place. How a plugin states the version that it
needs is told in [plugins](../plugins/index.md#the-version-of-the-api).
"""

_ROOT = Path(aaclip_kit.__file__).parent
_SOURCES = [
    *sorted((_ROOT / "contracts").glob("*.py")),
    *(
        _ROOT / name
        for name in (
            "data/decode.py",
            "data/find_files.py",
            "evaluation/patch_distance.py",
            "inference/load_model.py",
            "inference/prediction.py",
            "files/weights_file.py",
            "evaluation/patch_distance.py",
            "kernels/maps.py",
            "kernels/nearest.py",
            "kernels/norm_matched.py",
            "model/fixed_words.py",
            "plugin_host/hookspecs.py",
            "plugin_host/api_version.py",
            "version.py",
            "__init__.py",
        )
    ),
]
Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


def api_page() -> str:
    """The whole page."""
    found = dict(_definitions())
    legend = ast.get_docstring(ast.parse((_ROOT / "contracts" / "backbone.py").read_text(encoding="utf-8"))) or ""
    parts = [HEAD, "| name | what it is |\n|---|---|"]
    parts += [f"| [`{name}`](#{name.lower()}) | {_first_line(*found[name])} |" for name in aaclip_kit.__all__]
    for name in aaclip_kit.__all__:
        parts.append(f"\n## {name}\n\n{_section(*found[name])}")
        if name == "Backbone":
            parts.append(f"\n{legend[legend.index('| letter') :]}")
    return "\n".join(parts) + "\n"


def _definitions() -> Iterator[tuple[str, tuple[Definition, str]]]:
    """Each top-level name with its definition and the text that documents it."""
    for file in _SOURCES:
        body = ast.parse(file.read_text(encoding="utf-8")).body
        for node, below in _with_next(body):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield node.name, (node, ast.get_docstring(node) or "")
            elif isinstance(node, ast.Assign | ast.AnnAssign) and (name := _assigned(node)):
                yield name, (node, _text(below))


def _section(node: Definition, said: str) -> str:
    if isinstance(node, ast.FunctionDef):
        return f"{_code(_signature(node))}\n\n{said}"
    if not isinstance(node, ast.ClassDef):
        # Quotes as the formatter has them, which looks into code blocks too.
        return f"{_code(ast.unparse(node).replace(chr(39), chr(34)))}\n\n{said}"
    head = f"class {node.name}({', '.join(map(ast.unparse, node.bases))})" if node.bases else f"class {node.name}"
    members = "\n".join(_members(node))
    return "\n\n".join(filter(None, [_code("\n".join([*_decorators(node), head])), said, members]))


def _members(node: ast.ClassDef) -> Iterator[str]:
    """Public fields, properties and methods; fields without a text of their own are explained by the class's."""
    for member, below in _with_next(node.body):
        if isinstance(member, ast.AnnAssign | ast.Assign) and (name := _assigned(member)) and not name.startswith("_"):
            said = _text(below)
            yield f"- `{_shortened(ast.unparse(member))}`" + (f": {said}" if said else "")
        elif isinstance(member, ast.FunctionDef) and (member.name == "__init__" or not member.name.startswith("_")):
            said = " ".join((ast.get_docstring(member) or "").split())
            head = " ".join([*_decorators(member), f"{_signature(member)}"])
            yield f"- `{head}`" + (f": {said}" if said else "")


def _signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def _decorators(node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    return [f"@{ast.unparse(decorator)}" for decorator in node.decorator_list]


def _assigned(node: ast.Assign | ast.AnnAssign) -> str | None:
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    return target.id if isinstance(target, ast.Name) else None


def _with_next(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.stmt | None]]:
    return zip(body, [*body[1:], None], strict=True)


def _text(node: ast.stmt | None) -> str:
    """The text below an assignment, which documents it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return inspect.cleandoc(node.value.value)
    return ""


def _first_line(node: Definition, said: str) -> str:
    return said.partition("\n")[0].replace("|", "\\|")


def _shortened(text: str, longest: int = 160) -> str:
    return text if len(text) <= longest else f"{text[:longest]} ..."


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
