"""The house rules, read from the syntax trees: who may import whom, and what every file owes its reader."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import aaclip_kit

ROOT = Path(__file__).parents[1]
CORE, PLUGINS = ROOT / "aaclip_kit", ROOT / "plugins"
LONGEST_FILE, LONGEST_FUNCTION = 400, 60

SHARED = {
    "synthetic": None,
    "synthetic.fields": {"Generator"},
    "synthetic.difficulty": {"auroc", "sample"},
    "folder": {"ClassOptions", "LAYOUTS", "read_classes", "unknown_classes"},
    "manifest": {"read_rows"},
    "embedded": {"CONFIG", "WEIGHTS"},
}
"""What built-in plugins may take from one another: every public name (None), or those named."""

SOURCES = sorted([*CORE.rglob("*.py"), *PLUGINS.rglob("*.py")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> tuple[str, ...]:
    """Dotted name as a tuple; a package's own file counts as `PACKAGE.__init__`, so that relative imports resolve."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ("aaclip_kit_plugins", *parts[1:]) if parts[0] == "plugins" else parts


def imports(path: Path) -> Iterator[tuple[str, str | None, int]]:
    """(module, name or None, line) of each import, relative ones resolved, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module_of(path)[: -node.level] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((module, alias.name, node.lineno) for alias in node.names)


def test_the_reader_of_imports_sees_every_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plugins" / "a" / "b.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import x.y\nfrom . import c\nfrom .d import e\ndef f():\n    from ..g.h import i\n    from j import k\n"
    )
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert {(module, name) for module, name, _ in imports(file)} == {
        ("x.y", None),
        ("aaclip_kit_plugins.a", "c"),
        ("aaclip_kit_plugins.a.d", "e"),
        ("aaclip_kit_plugins.g.h", "i"),
        ("j", "k"),
    }


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=name_of)
def test_the_core_knows_no_plugin_and_no_clip_library(path: Path) -> None:
    for module, _, line in imports(path):
        top = module.split(".")[0]
        assert top not in ("aaclip_kit_plugins", "plugins", "open_clip"), f"{name_of(path)}:{line} imports {module}"


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=name_of)
def test_plugins_use_the_public_api_and_not_one_anothers_internals(path: Path) -> None:
    own = module_of(path)[1]
    for module, name, line in imports(path):
        at = f"{name_of(path)}:{line} imports {name or ''} from {module}"
        first, _, rest = module.partition(".")
        if first == "aaclip_kit":
            assert rest == "" and name in aaclip_kit.__all__, f"{at}, which is not public"
        if first == "aaclip_kit_plugins":
            target = rest or str(name)
            if target.split(".")[0] != own:
                assert target in SHARED, f"{at}, another plugin's internals"
                allowed = SHARED[target]
                assert rest == "" or allowed is None or name in allowed, f"{at}, which is not shared"
                assert not str(name).startswith("_"), f"{at}, which is private"


def test_plugins_take_from_the_embedded_model_its_files_only() -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse((PLUGINS / "open_clip" / "source.py").read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "embedded"
    }
    assert used <= SHARED["embedded"]


def test_every_public_name_resolves_and_is_listed_once() -> None:
    assert list(aaclip_kit.__all__) == sorted(set(aaclip_kit.__all__))
    for name in aaclip_kit.__all__:
        assert getattr(aaclip_kit, name) is not None
        assert name == "__version__" or not name.startswith("_")


def test_public_names_with_torch_are_not_loaded_by_the_package_itself() -> None:
    lines = [module for module, _, line in imports(CORE / "__init__.py")]
    assert "torch" not in lines
    torch_rooms = {"contracts.backbone", "contracts.stage", "contracts.loss"}
    outside = [node for node in ast.parse((CORE / "__init__.py").read_text()).body if isinstance(node, ast.ImportFrom)]
    assert not torch_rooms & {node.module for node in outside}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_files_and_functions_are_short_and_everything_public_is_documented(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= LONGEST_FILE, f"{name_of(path)} is too long"
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{name_of(path)} has no docstring"
    for node, public in walk_named(tree):
        at = f"{name_of(path)}:{node.lineno} {node.name}"
        assert not public or ast.get_docstring(node), f"{at} has no docstring"
        if not isinstance(node, ast.ClassDef):
            assert node.end_lineno - node.lineno < LONGEST_FUNCTION, f"{at} is too long"


def walk_named(
    tree: ast.Module | ast.ClassDef, public: bool = True
) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, bool]]:
    """Functions and classes of a module, and methods of its classes, with whether each is public."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            seen = public and not node.name.startswith("_")
            yield node, seen
            if isinstance(node, ast.ClassDef):
                yield from walk_named(node, seen)


def test_every_package_is_installed() -> None:
    """A folder that setuptools is not told about works in the repository and is missing from a wheel."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = settings["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    folders = {".".join(module_of(path)[:-1]) for path in SOURCES if path.name == "__init__.py"}
    assert set(listed) == folders
    without = {name_of(path.parent) for path in SOURCES if not (path.parent / "__init__.py").exists()}
    assert not without, "folders with modules need an __init__.py"


def test_files_that_are_no_python_are_installed_with_their_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]
    for path in [*CORE.rglob("*"), *PLUGINS.rglob("*")]:
        if path.is_dir() or path.suffix in (".py", ".pyc"):
            continue
        home = next(folder for folder in path.parents if (folder / "__init__.py").exists())
        package = ".".join(module_of(home / "__init__.py")[:-1])
        assert any(path.match(pattern) for pattern in patterns.get(package, ())), f"{name_of(path)} is not installed"


def test_every_entry_point_is_a_module_of_the_plugins() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for name, module in settings["project"]["entry-points"]["aaclip_kit"].items():
        place = PLUGINS.joinpath(*module.split(".")[1:])
        assert place.with_suffix(".py").is_file() or (place / "__init__.py").is_file(), f"{name} = {module}"


def repository_files() -> list[Path]:
    """Files that are tracked or would be."""
    try:
        command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository")
    return [path for name in listed if (path := ROOT / name).is_file()]


MACHINE = re.compile(r"(?<![\w.}\])/<~-])/(?:home|root|work|opt|mnt|Users|private)/\w|\b[A-Z]:\\+Users")


def test_places_on_a_machine_are_told_from_other_text() -> None:
    slash = "/"  # so that this file names none itself
    for text in (f'"{slash}home/ann/x"', f"path={slash}work/main", f"({slash}opt/venv/bin)", "C:" + r"\Users\ann"):
        assert MACHINE.search(text), text
    for text in ("checkpoints/work/x", "a.org/home/x", "../work/x", "~/work/x"):
        assert not MACHINE.search(text), text


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{name_of(path)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if MACHINE.search(line)
        ]
    assert not found, "\n".join(found)
