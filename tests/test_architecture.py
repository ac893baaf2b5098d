"""The house rules, read from the syntax trees: who may import whom, and what every file owes its reader."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import aaclip_kit

ROOT = Path(__file__).parents[1]
CORE, PLUGINS, EXPERIMENTS = ROOT / "aaclip_kit", ROOT / "plugins", ROOT / "experiments"
TOOLS = sorted((ROOT / "tools").rglob("*.py"))
IMPORTED_AS = {"plugins": "aaclip_kit_plugins", "experiments": "aaclip_kit_experiments"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60

SHARED = {
    "synthetic": None,
    "folder": {"ClassOptions", "Classes", "DataPath", "LAYOUTS", "read_classes", "unknown_classes"},
    "manifest": {"read_rows"},
    "synthetic.blend": None,
    "synthetic.photographs": None,
    "generated": None,
    "clip": None,
    "clip_weights": {"load_weights"},
    "named_weights": None,
    "weights_path": None,
    "patches": None,
    "hub": None,
}
"""What built-in plugins may take from one another: every public name (None), or those named."""

SOURCES = sorted([*CORE.rglob("*.py"), *PLUGINS.rglob("*.py"), *EXPERIMENTS.rglob("*.py")])


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> tuple[str, ...]:
    """Dotted name as a tuple; a package's own file counts as `PACKAGE.__init__`, so that relative imports resolve."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return (IMPORTED_AS.get(parts[0], parts[0]), *parts[1:])


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


def test_the_core_knows_no_plugin_and_no_clip_library() -> None:
    others = ("aaclip_kit_plugins", "plugins", "open_clip")
    found = [
        f"{name_of(path)}:{line} imports {module}"
        for path in sorted(CORE.rglob("*.py"))
        for module, _, line in imports(path)
        if module.split(".")[0] in others
    ]
    assert not found, "\n".join(found)


def test_plugins_use_the_public_api_and_not_one_anothers_internals() -> None:
    found = [
        f"{name_of(path)}:{line} imports {name or ''} from {module}, {wrong}"
        for path in sorted(PLUGINS.rglob("*.py"))
        for module, name, line in imports(path)
        if (wrong := wrong_import(module_of(path)[1], module, name))
    ]
    assert not found, "\n".join(found)


def wrong_import(own: str, module: str, name: str | None) -> str | None:
    """What is wrong with an import of plugin `own`; None if nothing is."""
    first, _, rest = module.partition(".")
    if first == "aaclip_kit":
        return None if rest == "" and name in aaclip_kit.__all__ else "which is not public"
    target = rest or str(name)
    if first != "aaclip_kit_plugins" or target.split(".")[0] == own:
        return None
    if target not in SHARED:
        return "another plugin's internals"
    allowed = SHARED[target]
    if rest and allowed is not None and name not in allowed:
        return "which is not shared"
    return "which is private" if str(name).startswith("_") else None


@pytest.mark.parametrize(
    ("module", "name", "wrong"),
    [
        ("aaclip_kit", "Loss", None),
        ("torch", None, None),
        ("aaclip_kit_plugins.losses.features", "_anything", None),
        ("aaclip_kit_plugins.folder", "ClassOptions", None),
        ("aaclip_kit", "nothing", "which is not public"),
        ("aaclip_kit.run.loop", "execute", "which is not public"),
        ("aaclip_kit_plugins.attention.attend", "attend", "another plugin's internals"),
        ("aaclip_kit_plugins.folder", "read_folder", "which is not shared"),
        ("aaclip_kit_plugins.synthetic", "_kinds", "which is private"),
    ],
)
def test_imports_of_plugins_that_are_wrong_are_seen(module: str, name: str | None, wrong: str | None) -> None:
    assert wrong_import("losses", module, name) == wrong


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


def test_files_and_functions_are_short_and_everything_public_is_documented() -> None:
    files = [*SOURCES, *TOOLS]
    found = [fault for path in files for fault in faults_of(name_of(path), path.read_text(encoding="utf-8"))]
    assert not found, "\n".join(found)


def faults_of(name: str, text: str) -> Iterator[str]:
    """What a module lacks, and what of it is too long."""
    if text.count("\n") > LONGEST_FILE:
        yield f"{name} is too long"
    tree = ast.parse(text)
    if not ast.get_docstring(tree):
        yield f"{name} has no docstring"
    for node, public in walk_named(tree):
        at = f"{name}:{node.lineno} {node.name}"
        if public and not ast.get_docstring(node):
            yield f"{at} has no docstring"
        if not isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION:
            yield f"{at} is too long"


def test_faults_of_a_module_are_seen() -> None:
    long = "def f():\n" + "    pass\n" * LONGEST_FUNCTION
    text = long + "class A:\n    def g(self): ...\n    def _h(self): ...\n" + "\n" * LONGEST_FILE
    assert list(faults_of("a.py", text)) == [
        "a.py is too long", "a.py has no docstring", "a.py:1 f has no docstring", "a.py:1 f is too long",
        f"a.py:{LONGEST_FUNCTION + 2} A has no docstring", f"a.py:{LONGEST_FUNCTION + 3} g has no docstring",
    ]  # fmt: skip


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


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What setup.py tells setuptools."""
    setuptools = pytest.importorskip("setuptools")
    found: dict[str, object] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: found.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return found


def test_every_package_is_installed(told: dict[str, object]) -> None:
    """A folder that setuptools is not told about works in the repository and is missing from a wheel."""
    listed = told.pop("packages")
    assert not told, "the rest stands in pyproject.toml"
    assert isinstance(listed, list) and len(listed) == len(set(listed))
    folders = {".".join(module_of(path)[:-1]) for path in SOURCES if path.name == "__init__.py"}
    assert set(listed) == folders
    without = {name_of(path.parent) for path in SOURCES if not (path.parent / "__init__.py").exists()}
    assert not without, "folders with modules need an __init__.py"


def test_pytest_is_asked_for_with_the_conformance_kit_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert [need.partition(">")[0] for need in extras["testing"]] == ["pytest"]
    assert any(need.startswith("aaclip-kit[") and "testing" in need for need in extras["dev"])
    assert not [need for need in project["dependencies"] if "pytest" in need]
    loading = {name_of(path) for path in SOURCES for module, _, _ in imports(path) if module == "pytest"}
    assert loading == {"aaclip_kit/testing/check.py", "aaclip_kit/testing/pytest_plugin.py"}


def test_packages_are_told_where_their_folders_are() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    homes = {IMPORTED_AS.get(path.name, path.name): path.name for path in (CORE, PLUGINS, EXPERIMENTS)}
    assert settings["tool"]["setuptools"]["package-dir"] == homes


def test_files_that_are_no_python_are_installed_with_their_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]
    for path in [*CORE.rglob("*"), *PLUGINS.rglob("*"), *EXPERIMENTS.rglob("*")]:
        if path.is_dir() or path.suffix in (".py", ".pyc"):
            continue
        home = next(folder for folder in path.parents if (folder / "__init__.py").exists())
        package = ".".join(module_of(home / "__init__.py")[:-1])
        own = [*patterns["*"], *patterns.get(package, ())]
        matched = {found for pattern in own for found in home.glob(pattern)}
        assert path in matched, f"{name_of(path)} is not installed"


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
