"""Names that are commands elsewhere: to a terminal, to a browser, to a file system."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import aaclip_kit
from aaclip_kit import UserError, UserErrors
from aaclip_kit.cli.screen import Screen
from aaclip_kit.cli.terminal import PlainConsole, plain_table, say
from aaclip_kit.comparison.write import markdown_table
from aaclip_kit.contracts.errors import in_short, plain, plain_lines, shortened
from aaclip_kit.data.manifests import write_manifest
from aaclip_kit.report.figures import page_template

from ..command import Command, Ran
from ..strangers import Strangers

COMMANDS = "\x1b[2J\x1b]0;title\x07\x9b31m\r\x08\u202egnp\u2066\u200f"
NAME = '<script>alert("1")<img src=x onerror=alert(2)> & \'$x^2_\' | `id` ; "\\n"'
"""A folder's name that no file system refuses, apart from the slash."""


def assert_no_commands(text: str) -> None:
    found = re.findall(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)
    assert not found, text


def test_what_a_terminal_would_obey_is_spelled_out() -> None:
    assert plain(COMMANDS) == (
        r"\x1b[2J\x1b]0;title\x07\x9b31m\r\x08\u202egnp\u2066\u200f"
    )  # fmt: skip
    assert plain("a\nb\tc\ud800") == r"a\nb\tc\ud800"
    assert plain_lines("a\nb\x1b") == "a\nb\\x1b"
    assert plain("Zürich 東京 ✓ \U0001f600") == "Zürich 東京 ✓ \U0001f600"
    assert shortened("a" * 100 + "b" * 100, 10) == "aaaaa ... bbbbb"


def test_a_long_list_is_told_by_its_first_items_and_their_number() -> None:
    assert in_short(["a", Path("b")]) == "a, b" and in_short([]) == ""
    assert in_short(range(1040), 3, "; ") == "0; 1; 2 and 1,037 more"
    assert len(in_short(["x" * 10**6] * 40)) < 4000


def test_an_error_is_shown_plainly_and_not_at_length(capsys: pytest.CaptureFixture[str]) -> None:
    fault = UserError(f"no {COMMANDS}", where=f"a\nerror: b{COMMANDS}", fix=f"x{COMMANDS}" + "y" * 10**6)
    for error in (fault, UserErrors([fault, fault])):
        assert_no_commands(str(error))
        assert all(line.startswith(("a\\nerror: b", "    fix: x")) for line in str(error).split("\n"))
        assert len(str(error)) < 20_000


def test_nothing_that_is_printed_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    say(f"a {COMMANDS}\nb")
    console = PlainConsole(force_terminal=True, color_system="truecolor", width=200)
    table = Table("name")
    table.add_row(COMMANDS)
    console.print(table)
    console.print(COMMANDS, markup=False, highlight=False, style="red")
    out = capsys.readouterr().out
    assert "\x1b[31m" in out, "rich's own colours stay"
    assert_no_commands(re.sub(r"\x1b\[[0-9;]*m", "", out))
    assert out.count(r"\x1b[2J") == 3


def test_a_name_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\nthreshold   image: 0"
    say(name)
    console = PlainConsole(width=80)
    console.print_line(name)
    Screen(console).message(name)
    Screen(console).red(name)
    console.print(plain_table("name", rows=[[name]]))
    assert capsys.readouterr().out.count("a\\nthreshold") == 5


def test_neither_marks_nor_emoji_are_made_of_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    console = PlainConsole()
    Screen(console).message("run r:x: [red]a[/red] with 12 px")
    console.print(plain_table(":x:", "[b]c[/b]", rows=[(":x:", "[b]")], title=":warning:"))
    assert capsys.readouterr().out.split() == [
        "run", "r:x:", "[red]a[/red]", "with", "12", "px", ":warning:", ":x:", "[b]c[/b]", ":x:", "[b]",
    ]  # fmt: skip


def test_a_page_and_markdown_show_a_name_letter_by_letter() -> None:
    name = "\u202egnp.<b>x</b> | [a](b) `c` *d* \\ &lt;\n# e"
    table = markdown_table(["run", "p"], [[name, "p < 0.001"]])
    assert table.splitlines()[2] == (r"| \\u202egnp.\<b>x\</b> \| \[a\](b) \`c\` \*d\* \\ \&lt;\\n# e | p < 0.001 |")
    page = page_template("aaclip_kit.comparison").render(
        title=name, heads=(), class_heads=(), sections=[], notes=[name], rule="a", costs=()
    )
    assert_no_commands(page.replace("\n", ""))
    assert r"\u202egnp.&lt;b&gt;" in page


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@a"])
def test_a_table_has_no_formula_for_a_name(tmp_path: Path, name: str) -> None:
    row = {"image_path": "a.png", "label": 0, "class_name": name}
    with pytest.raises(UserError, match=r"would take .* for a formula"):
        write_manifest([row], tmp_path / "list.csv")
    assert list(tmp_path.iterdir()) == []
    write_manifest([row], tmp_path / "list.jsonl")


def test_there_is_no_other_way_to_the_terminal() -> None:
    folder, found = Path(aaclip_kit.__file__).parent, []
    for path in (path for path in folder.rglob("*.py") if path.name not in ("terminal.py", "__main__.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "Console"):
                found.append(f"{path.relative_to(folder).as_posix()}:{node.lineno}")
    assert not found, "use say and PlainConsole"


def test_a_plugin_with_a_hostile_name(aakit: Command, strangers: Strangers) -> None:
    strangers.add(
        "hostile_name",
        f'''
        from aaclip_kit import Options, hookimpl

        class SomeOptions(Options):
            """Words {ascii(COMMANDS)[1:-1]} and [red]marks[/red]."""

        @hookimpl
        def register_losses(register):
            register({COMMANDS + NAME!a}, "nowhere:X", SomeOptions)
        ''',
    )
    strangers.add("hostile_fault", f"raise ValueError({COMMANDS + NAME!a})")
    for arguments in (["list-plugins"], ["list-plugins", "--json"], ["show", COMMANDS + NAME]):
        ran = aakit(*arguments)
        assert ran.code == 0
        assert_no_commands(ran.out + ran.err)
        assert "[red]" in ran.out or arguments[-1] == "--json" or "marks" in ran.out
    assert_no_commands(aakit("show", COMMANDS).err)


IMAGES = (NAME, f"{COMMANDS}\nerror: b", os.fsdecode(b"caf\xe9"), "--out")
"""Marks and quotes, commands and a line end, Latin-1, an option."""


def named(defects: Path, folder: Path, class_name: str | bytes) -> Path:
    """The drawn defects, a class of them and its normal images called so."""
    root = Path(shutil.copytree(defects, folder / "named"))
    good = root / "green_wood" / "test" / "good"
    for number, name in enumerate(IMAGES):
        (good / f"{number:03}.png").rename(good / f"{name}.png")
    (root / "green_wood").rename(root / os.fsdecode(class_name))
    return root


def of_root(root: Path, class_name: str) -> list[str]:
    """Overrides that test on this class."""
    quoted = class_name.replace("\\", "\\\\").replace('"', '\\"')
    pairs = (f"data.test.root={str(root)!r}", f'data.test.classes=["{quoted}"]')
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.mark.slow
def test_a_run_over_hostile_names(
    aakit: Command, place: Path, defects: Path, tmp_path: Path, small_experiment: Path
) -> None:
    root, out = named(defects, tmp_path, NAME), place / "out"
    ran = aakit("run", small_experiment, "--out", out, *of_root(root, NAME))
    assert ran.code == 0, ran.err
    assert_no_commands(ran.out + ran.err)
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert {path.name for path in place.iterdir()} == {"out"}, "nothing is written elsewhere"
    assert aakit("report", out).code == 0
    ran = aakit("predict", out, root / NAME / "test", "--uncalibrated", "--out", place / "scores")
    assert ran.code == 0, ran.err
    assert_no_commands(ran.out + ran.err)


def test_a_comparison_of_folders_with_hostile_names(aakit: Command, place: Path, trained: Path) -> None:
    other = "<img src=x onerror=alert(1)>" + COMMANDS
    for name in ("a", other):
        shutil.copytree(trained, place / name)
    ran = aakit("compare", place / "a", place / other, "--out", place / "compared")
    assert ran.code == 0, ran.err
    assert_no_commands(ran.out + ran.err)
    html = (place / "compared" / "comparison.html").read_text(encoding="utf-8")
    assert "<img" not in html and "&lt;img" in html


@pytest.mark.parametrize("class_name", [COMMANDS, "a\nb", b"caf\xe9"], ids=["commands", "a line end", "Latin-1"])
def test_a_class_whose_name_cannot_be_shown_is_refused(
    refused: Callable[..., Ran], defects: Path, tmp_path: Path, class_name: str | bytes
) -> None:
    root = named(defects, tmp_path, class_name)
    shutil.rmtree(root / "red_cloth")
    ran = refused("--set", f"data.test={{use='folder', root={str(root)!r}}}")
    assert "holds what cannot be shown" in ran.err
    assert_no_commands(ran.err)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "name", ["../../away", *(pytest.param(name, marks=pytest.mark.slow) for name in ("/away", "a/../../b"))]
)
def test_a_class_cannot_name_a_place(
    aakit: Command, place: Path, defects: Path, small_experiment: Path, tmp_path: Path, name: str
) -> None:
    """A manifest's class names are any text; files of a run are named after them."""
    root, manifest = defects / "green_wood", tmp_path / "list.jsonl"
    rows = [(f"test/{kind}/{n:03}.png", int(kind == "spot"), n) for kind in ("good", "spot") for n in range(4)]
    manifest.write_text(
        "".join(
            json.dumps({"image_path": image, "label": label, "class_name": name,
                        **({"mask_path": f"ground_truth/spot/{n:03}_mask.png"} if label else {})}) + "\n"
            for image, label, n in rows
        )
    )  # fmt: skip
    pairs = ("data.test.use=manifest", f"data.test.manifest={str(manifest)!r}", f"data.test.root={str(root)!r}")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(place / "out")}
    ran = aakit("run", small_experiment, "--out", place / "out", *(w for pair in pairs for w in ("--set", pair)))
    assert ran.code == 0, ran.err
    after = {path for path in tmp_path.rglob("*") if not path.is_relative_to(place / "out")}
    assert before == after
