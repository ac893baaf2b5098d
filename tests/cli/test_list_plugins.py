"""`aakit list-plugins` and `aakit show`, `--version` and the pages of `--help`."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import pytest
import typer

from aaclip_kit.cli import app
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.registry import KINDS, Component

from ..command import Command
from ..strangers import Strangers
from .conftest import assert_plain

pytestmark = pytest.mark.usefixtures("undrawn")


def lines(text: str) -> dict[str, str]:
    """First word of each line to the rest, blanks collapsed."""
    split = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return {words[0]: " ".join(words[1].split()) if len(words) > 1 else "" for words in split}


def row(component: Component) -> str:
    owner = component.plugin
    return f"{component.kind} {component.name} {owner.package} {owner.version} {component.description}"


def test_list_plugins_prints_one_line_for_each_component_where_no_terminal_is(aakit: Command) -> None:
    ran = aakit("list-plugins", columns=80)
    assert (ran.code, ran.err) == (0, "")
    assert sorted(ran.out.splitlines()) == sorted(map(row, discover().components.values()))


BROKEN = "raise RuntimeError('the words of a long reason ' * 9 + '\\n\\n  to their end')"


@pytest.mark.parametrize("terminal", [False, True])
def test_the_reason_of_a_failed_plugin_is_one_unbroken_line(
    aakit: Command, strangers: Strangers, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    strangers.add("snapped", BROKEN)
    if terminal:
        pretend_a_terminal(monkeypatch)
    ran = aakit("list-plugins", columns=80)
    (line,) = [line for line in ran.out.splitlines() if "snapped" in line]
    assert line.startswith("not usable: plugin ")
    assert f"RuntimeError: {'the words of a long reason ' * 9}to their end" in line


def pretend_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let standard output, as it is captured within a test, be a terminal without colours."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")


def test_on_a_terminal_of_80_columns_list_plugins_makes_no_strips(
    aakit: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_a_terminal(monkeypatch)
    ran = aakit("list-plugins", columns=80)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", ran.out)
    assert not [line for line in plain.splitlines() if len(line) > 80]
    components = discover().components.values()
    assert plain.startswith("aaclip-kit ")
    assert len(plain.splitlines()) < 2 * len(components)
    for component in components:
        (first,) = re.findall(rf"^{component.kind} +{component.name} +(\S.*)$", plain, re.MULTILINE)
        assert component.description.startswith(first.strip())


def test_list_plugins_as_json_holds_the_same(aakit: Command) -> None:
    ran = aakit("list-plugins", "--json")
    found = json.loads(ran.out)
    assert {(one["kind"], one["name"]) for one in found["components"]} == set(discover().components)
    assert {one["kind"] for one in found["components"]} == set(KINDS)
    (backbone,) = [one for one in found["components"] if one["name"] == "open_clip"]
    assert backbone["module"] == "aaclip_kit_plugins.open_clip"
    assert backbone["package"] == "aaclip-kit"
    assert backbone["description"]


def test_show_prints_types_defaults_bounds_and_meaning(aakit: Command) -> None:
    ran = aakit("show", "text_to_image")
    assert ran.code == 0
    assert ran.out.startswith("attention-stage text_to_image\n")
    assert "from aaclip-kit" in ran.out
    assert "(aaclip_kit_plugins.attention)" in ran.out
    options = lines(ran.out)
    assert options["heads"].startswith("int >= 1 8 attention heads")
    assert options["scale"].startswith("float >= 0, <= 10 0.1 strength")
    assert options["dropout"].startswith("float >= 0, < 1 0.1 ")
    assert options["after"].startswith("list of int >= -1, not empty [0] block numbers")
    assert options["norm_matched"].startswith("bool true ")
    assert options["tower"].startswith('"text" "text" ')


def test_show_tells_what_is_required_and_what_may_be_left_out(aakit: Command) -> None:
    assert lines(aakit("show", "residual_adapter").out)["tower"].startswith('"text" | "vision" required ')
    assert lines(aakit("show", "open_clip").out)["image_size"].startswith("int >= 1, <= 4096 unset ")
    folder = lines(aakit("show", "folder").out)
    assert folder["root"].startswith("path required ")


@pytest.mark.parametrize("name", sorted({name for _, name in discover().components}))
def test_show_names_every_option_of_every_component(aakit: Command, name: str) -> None:
    ran = aakit("show", name)
    assert ran.code == 0
    for (kind, other), component in discover().components.items():
        if other == name:
            shown = lines(ran.out.split(f"{kind} {name}\n")[1].split(f" {name}\n")[0])
            for option, info in component.options.model_fields.items():
                first_words = " ".join((info.description or "").split()[:2])
                assert first_words in shown[option]
                assert "Annotated" not in shown[option]


@pytest.mark.parametrize(("name", "near"), [("text_to_imag", "text_to_image"), ("feedbck", "feedback"), ("zzz", None)])
def test_an_unknown_name_is_refused_with_the_nearest(aakit: Command, name: str, near: str | None) -> None:
    ran = aakit("show", name)
    assert_plain(ran)
    assert f"there is no component called '{name}'" in ran.err
    assert (f"did you mean '{near}'?" in ran.err) == (near is not None)
    assert "open_clip" in ran.err


@pytest.mark.parametrize("arguments", [["--help"], [], ["run", "--help"], ["validate", "--help"], ["show", "--help"]])
def test_help_names_what_there_is(aakit: Command, arguments: list[str]) -> None:
    ran = aakit(*arguments)
    text = ran.out + ran.err
    assert "Usage: aakit" in text
    if arguments in (["--help"], []):
        assert all(command in text for command in ("run", "validate", "list-plugins", "show", "--debug"))
    if arguments[:1] == ["run"]:
        assert all(option in text for option in ("--out", "--set", "--device", "--seed", "--dry-run"))


def commands(group: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command by its words behind `aakit`, those of groups too, and the groups themselves."""
    found = {path: group}
    for name, command in getattr(group, "commands", {}).items():
        found |= commands(command, (*path, name))
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_page_of_help_ends_with_one_line_to_copy(aakit: Command, path: tuple[str, ...]) -> None:
    ran = aakit(*path, "--help")  # typer wraps at 80 columns on wider terminals too
    *others, last = [line.strip() for line in ran.out.splitlines() if line.strip()]
    assert not [line for line in others if "Example:" in line]
    assert last == COMMANDS[path].epilog, "it wrapped"
    assert last.startswith(f"Example: {' '.join(('aakit', *path))} ")


@pytest.mark.parametrize("path", [path for path, one in COMMANDS.items() if not hasattr(one, "commands")], ids=" ".join)
def test_the_example_of_a_command_is_one_that_it_takes(path: tuple[str, ...]) -> None:
    words = shlex.split(COMMANDS[path].epilog.removeprefix("Example: aakit ").partition(" | ")[0])
    assert tuple(words[: len(path)]) == path
    COMMANDS[path].make_context(path[-1], words[len(path) :])  # ends the program where it cannot be parsed


def test_the_version_is_that_of_the_package(aakit: Command) -> None:
    assert aakit("--version") == (0, f"aakit {version('aaclip-kit')}\n", "")


def test_the_version_is_told_without_torch() -> None:
    code = (
        "import sys; from aaclip_kit.cli import main; sys.argv = ['aakit', '--version']\n"
        "try: main()\nfinally: print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines()[1:] == ["False"], ran.stderr
