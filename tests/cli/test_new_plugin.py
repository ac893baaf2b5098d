"""`aakit new-plugin`: what it prints, what it refuses, and that it leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..command import Command
from .conftest import assert_plain, contents


def test_it_ends_with_the_commands_to_run_and_what_to_edit_first(aakit: Command, place: Path) -> None:
    ran = aakit("new-plugin", "my-attention")
    assert (ran.code, ran.err) == (0, "")
    *_, change, run, _, last = ran.out.splitlines()
    assert [change.strip(), run.strip()] == [
        "cd my-attention",
        "pip install -e '.[test]' && pytest && aakit run experiment.toml",
    ]
    assert last == "Edit first: my_attention/stage.py; its options stand in my_attention/__init__.py"
    assert (place / "my-attention" / "my_attention" / "stage.py").is_file()


def test_another_folder_is_made_and_named(aakit: Command, place: Path) -> None:
    ran = aakit("new-plugin", "my-loss", "--kind", "loss", "--out", "of mine/plugins")
    assert ran.code == 0, ran.err
    assert "cd 'of mine/plugins/my-loss'" in ran.out
    assert (place / "of mine" / "plugins" / "my-loss" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["3d"], "the name '3d' gives no package"),
        (["torch"], "a module 'torch' is installed already"),
        (["pillow"], "a package of that name is installed already"),
        (["text-to-image"], "attention-stage 'text_to_image' is registered already, by aaclip-kit"),
        (["mine", "--kind", "stage"], "there is no kind of plugin called 'stage'"),
        (["mine", "--kind", "los"], "did you mean 'loss'?"),
    ],
)
def test_what_cannot_be_is_one_plain_message(aakit: Command, place: Path, arguments: list[str], said: str) -> None:
    ran = aakit("new-plugin", *arguments)
    assert_plain(ran)
    assert said in ran.err
    assert contents(place) == {}


def test_a_folder_that_holds_something_is_left_alone(aakit: Command, place: Path) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "note").write_text("keep")
    (place / "other").write_text("a file")
    before = contents(place)
    for name in ("mine", "other"):
        ran = aakit("new-plugin", name)
        assert_plain(ran)
        assert "exists already, and is not an empty folder" in ran.err
    ran = aakit("new-plugin", "third", "--out", "other")
    assert_plain(ran)
    assert "cannot be written" in ran.err
    assert contents(place) == before


def test_an_empty_folder_is_filled(aakit: Command, place: Path) -> None:
    (place / "mine").mkdir()
    assert aakit("new-plugin", "mine").code == 0
    assert (place / "mine" / "pyproject.toml").is_file()


def test_a_write_that_fails_half_way_leaves_nothing(
    aakit: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, written = Path.write_bytes, []

    def full(self: Path, content: bytes) -> int:
        written.append(self)
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        return plain(self, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    ran = aakit("new-plugin", "mine")
    assert_plain(ran)
    assert "cannot be written (No space left on device)" in ran.err
    assert len(written) == 4
    assert contents(place) == {}


def test_it_needs_no_torch(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "aaclip_kit", "new-plugin", "mine", "--kind", "data-set"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines() if line.startswith("import time:")}
    assert "aaclip_kit.scaffold.plugin_package" in imported
    assert not imported & {"torch", "open_clip", "numpy", "scipy", "matplotlib", "jaxtyping"}
