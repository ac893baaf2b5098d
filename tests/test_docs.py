"""The pages that are made from the code, or must keep up with it."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import aaclip_kit
from aaclip_kit.cli import app
from aaclip_kit.cli.compare import GUIDE
from aaclip_kit.experiment.schema import PUBLISHED_SWITCHES, ExperimentFile, Switches
from aaclip_kit.plugin_host.api_version import API_VERSION
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import KINDS, Component, Kind
from aaclip_kit.testing import checks_of

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DEFINITIONS = (ast.FunctionDef, ast.ClassDef)
REPOSITORY = "https://github.com/aaclip-kit/aaclip_kit"


def built_in() -> list[Component]:
    """Components of this package; others may be installed beside it."""
    return [component for component in discover().components.values() if component.plugin.package == "aaclip-kit"]


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def generate(monkeypatch_module: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch_module.syspath_prepend(DOCS)
    specification = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert specification and specification.loader
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_gives() -> None:
    ran = subprocess.run([sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_a_stale_or_missing_reference_is_reported_and_left_alone(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "reference.md"
    assert generate.main(["--check"], page) == 1
    assert not page.exists()
    assert generate.main([], page) == 0
    assert generate.main(["--check"], page) == 0
    page.write_text(page.read_text() + "more\n")
    assert generate.main(["--check"], page) == 1
    assert page.read_text().endswith("more\n")
    assert "stale" in capsys.readouterr().err


def test_a_stale_table_of_checks_is_reported_and_renewed(
    generate: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, contracts = tmp_path / "reference.md", tmp_path / "kinds"
    shutil.copytree(DOCS / "plugins" / "kinds", contracts)
    assert generate.main([], reference, contracts) == 0
    page = contracts / "loss.md"
    whole = page.read_text()
    page.write_text(whole.replace("| L4 |", "| L5 |"))
    assert generate.main(["--check"], reference, contracts) == 1
    assert "loss.md is stale" in capsys.readouterr().err
    assert generate.main([], reference, contracts) == 0
    assert page.read_text() == whole


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_a_kind_has_a_row_for_each_check(kind: Kind) -> None:
    text = (DOCS / "plugins" / "kinds" / f"{kind}.md").read_text()
    for check in checks_of(kind):
        assert text.count(f"| {check.id} | {check.name.replace('-', ' ')} | {check.promise} | {check.mend} |") == 1


def test_the_reference_names_every_option() -> None:
    text = (DOCS / "reference" / "experiment-file.md").read_text()
    rows = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    options = {name for component in built_in() for name in component.options.model_fields}
    assert options | set(ExperimentFile.model_fields) <= rows
    for component in built_in():
        assert f"### {component.kind} `{component.name}`\n\n{component.description}\n" in text


def test_every_option_says_what_it_is() -> None:
    assert not re.search(r"\| *\|$", (DOCS / "reference" / "experiment-file.md").read_text(), re.MULTILINE)


def test_the_api_page_has_each_public_name_and_says_what_it_is() -> None:
    text = (DOCS / "reference" / "api.md").read_text()
    assert f"Version {aaclip_kit.API_VERSION}." in text
    listed = dict(re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| (.*) \|$", text, re.MULTILINE))
    assert list(listed) == aaclip_kit.__all__
    assert all(listed.values())
    for name in aaclip_kit.__all__:
        (section,) = re.findall(rf"^## {name}\n\n```python\n(.*?)```\n\n(\S.*?)$", text, re.MULTILINE | re.DOTALL)
        assert name in section[0]


def test_a_changed_api_makes_the_page_stale(
    generate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "reference.md"
    assert generate.main([], page) == 0
    assert generate.main(["--check"], page) == 0
    monkeypatch.setattr(aaclip_kit, "__all__", [name for name in aaclip_kit.__all__ if name != "Loss"])
    assert generate.main(["--check"], page) == 1
    assert "api.md is stale" in capsys.readouterr().err


def test_writing_the_reference_needs_no_torch() -> None:
    code = "import sys, generate; generate.main(['--check']); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=DOCS)
    assert ran.stdout.strip() == "False", ran.stderr


def test_the_page_of_switches_names_each_with_both_values() -> None:
    text = (DOCS / "guide" / "published-vs-corrected.md").read_text()
    corrected = Switches()
    for name, published in PUBLISHED_SWITCHES.items():
        (row,) = [line for line in text.splitlines() if f"| `{name}` |" in line]
        for value in (getattr(corrected, name), published):
            assert f"`{str(value).lower() if isinstance(value, bool) else value}`" in row
    assert [int(found) for found in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(range(1, 14))


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)  # code may look like a link
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", prose):
            target = target.replace(f"{REPOSITORY}/blob/main/", f"{ROOT}/")
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for file in (ROOT / "experiments").glob("*.toml"):
        for target in re.findall(r"docs/[\w./-]+\.md", file.read_text()):
            assert (ROOT / target).exists(), f"{file.name} names {target}"


def test_pages_state_the_present_version_of_the_api_as_new_packages_do() -> None:
    stated = [one for page in DOCS.rglob("*.md") for one in re.findall(r'AAKIT_API = "([\d.]+)"', page.read_text())]
    assert len(stated) >= 2 and set(stated) == {API_VERSION}


def test_what_is_said_of_verdicts_leads_to_a_page() -> None:
    assert (ROOT / GUIDE.removeprefix(f"{REPOSITORY}/blob/main/")).is_file()


def test_the_site_leads_to_every_page() -> None:
    listed = re.findall(r"^ +- (?:[^:\n]+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_the_site_is_built_without_a_complaint(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "fonts.googleapis" not in (tmp_path / "index.html").read_text()


def test_the_page_of_the_architecture_knows_every_room_in_order_of_floors() -> None:
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [[room.split(".")[1] for room in layer.split(" | ")] for layer in layers]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", (DOCS / "architecture.md").read_text(), re.MULTILINE)
    assert [re.findall(r"\w+", row) for row in rows] == [floor for floor in floors if floor != ["version"]]


def test_each_behaviour_happens_where_the_page_of_the_architecture_says() -> None:
    rows = re.findall(
        r"^\| ([^|`]*?[^|]*) \| `(\S+\.py)` \| `(\w+)` \|$", (DOCS / "architecture.md").read_text(), re.MULTILINE
    )
    assert len(rows) >= 30
    for what, file, name in rows:
        defined = {
            node.name for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, DEFINITIONS)
        }
        assert name in defined, f"{what}: {file} defines no {name}"


def test_guides_begin_with_what_to_type_and_hold_no_dated_measurement() -> None:
    for page in (DOCS / "guide").glob("*.md"):
        text = page.read_text()
        assert re.match(r"# .+\n\n```(sh|powershell)\n", text), f"{page.name} does not begin with a command"
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", text), f"{page.name} has the day of a measurement"


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of each call of `aakit` in the page's blocks of shell."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["aakit"]:
                yield list(itertools.takewhile(lambda word: word not in ("|", ">", "&&", ";"), words[1:]))


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))], ids=lambda page: page.stem)
def test_commands_on_the_pages_are_taken_as_they_stand_there(page: Path) -> None:
    for words in commands_of(page):
        command: Any = typer.main.get_command(app)
        while hasattr(command, "commands"):
            assert words[0] in command.commands, f"{page.name}: {words}"
            command, words = command.commands[words[0]], words[1:]
        command.make_context(command.name, list(words))
