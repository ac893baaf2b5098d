"""`aakit init`: the shipped experiment files, listed and written out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aaclip_kit import UserError
from aaclip_kit.cli.new import EXPERIMENTS, shipped

from ..command import Command
from .conftest import assert_plain, contents

FOLDER = Path(__file__).parents[2] / "experiments"
FILES = {path.stem: path for path in FOLDER.rglob("*.toml")}
NAMES = sorted(FILES)
OF_ABLATION = {"ablation.toml", "base.toml", "cross_attention.toml", "feedback.toml", "feedback_v2.toml"}


def test_every_shipped_file_is_listed_with_what_it_runs(aakit: Command) -> None:
    ran = aakit("init")
    assert (ran.code, ran.err) == (0, "")
    lines = [line.split(maxsplit=1) for line in ran.out.splitlines()]
    assert [name for name, _ in lines] == NAMES
    for name, words in lines:
        assert FILES[name].read_text().startswith(f"# {words}\n")


@pytest.mark.parametrize("name", NAMES)
def test_what_it_writes_is_the_shipped_file_and_valid_where_it_is(aakit: Command, place: Path, name: str) -> None:
    ran = aakit("init", name)
    assert (ran.code, ran.err) == (0, "")
    assert (place / f"{name}.toml").read_bytes() == FILES[name].read_bytes()
    assert f"wrote {name}.toml\n" in ran.out
    command = "ablate" if name in ("ablation", "family", "switches") else "run"
    assert ran.out.endswith(f"run it: aakit {command} {name}.toml\n")
    assert aakit("validate", f"{name}.toml").code == 0


def test_an_ablation_brings_the_files_that_it_names(aakit: Command, place: Path) -> None:
    (place / "studies").mkdir()
    aakit("init", "ablation.toml", "studies/mine.toml")
    written = {path.relative_to(place).as_posix() for path in place.rglob("*.toml")}
    assert written == {f"studies/{name}" for name in {"mine.toml", *OF_ABLATION} - {"ablation.toml"}}


def test_a_file_in_a_folder_of_its_own_is_brought_into_one(aakit: Command, place: Path) -> None:
    aakit("init", "family", "mine.toml")
    written = {path.relative_to(place).as_posix() for path in place.rglob("*.toml")}
    beside = {"base.toml", "cross_attention.toml", "feedback.toml"}
    methods = {"ada_clip", "anomaly_clip", "april_gan", "text_free", "win_clip"}
    assert written == {"mine.toml", *beside, *(f"methods/{name}.toml" for name in methods)}


def test_a_file_that_an_ablation_names_and_that_is_there_is_kept_and_told(aakit: Command, place: Path) -> None:
    (place / "base.toml").write_text("mine")
    ran = aakit("init", "ablation")
    assert ran.code == 0
    assert {path.name for path in place.iterdir()} == OF_ABLATION
    assert (place / "base.toml").read_text() == "mine"
    assert "base.toml is there already, and ablation.toml uses it as it is" in ran.out
    assert "wrote base.toml" not in ran.out


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_nothing_is_written_over_what_is_there(aakit: Command, place: Path, kind: str) -> None:
    target = place / "feedback.toml"
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to("nowhere")
    before = contents(place)
    ran = aakit("init", "feedback")
    assert_plain(ran)
    assert "feedback.toml: exists already" in ran.err
    assert contents(place) == before


def test_an_ablation_cannot_take_the_name_of_a_file_that_it_uses(aakit: Command, place: Path) -> None:
    ran = aakit("init", "ablation", "base.toml")
    assert_plain(ran)
    assert "base.toml: is the name of a file that it uses itself" in ran.err
    assert contents(place) == {}


def test_an_unknown_name_is_refused_with_the_nearest(aakit: Command, place: Path) -> None:
    ran = aakit("init", "fedback")
    assert_plain(ran)
    assert "there is no shipped experiment called 'fedback'" in ran.err
    assert f"did you mean 'feedback'? known: {', '.join(NAMES)}" in ran.err
    assert contents(place) == {}


def test_a_folder_that_is_not_there_is_told(aakit: Command, place: Path) -> None:
    ran = aakit("init", "feedback", "no/such/mine.toml")
    assert_plain(ran)
    assert "no/such/mine.toml: cannot be written" in ran.err
    assert contents(place) == {}


def test_an_installation_without_the_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXPERIMENTS, None)
    with pytest.raises(UserError, match="no experiment files are installed") as caught:
        shipped()
    assert caught.value.fix
