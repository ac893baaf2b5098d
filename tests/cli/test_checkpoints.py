"""Published checkpoints in and out: the names written out by hand, every tensor bit for bit, both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ..command import Command, Ran
from ..strangers import Strangers, strangers_in
from .conftest import assert_plain, contents
from .published import OURS, SHAPES, assert_equal, imported, part, write_loop, write_two


@pytest.mark.parametrize("bare", [None, "", "{}."], ids=["dict of dicts", "bare", "bare, prefixed"])
def test_two_files(importing: Callable[..., Ran], place: Path, tmp_path: Path, bare: str | None) -> None:
    ran = importing(*write_two(tmp_path / "two", bare))
    state = imported(ran, place / "out.safetensors")
    assert len(state) == 11
    for name, ours in OURS.items():
        owner, _, key = name.partition(".")
        if owner in ("text_adapter", "image_adapter"):
            assert torch.equal(state[ours], part(owner)[key]), name
    assert "fresh: image_to_text, text_to_image" in ran.out
    assert ("passed over: epoch, text_optimizer, image_optimizer" in ran.out) == (bare is None)
    assert set(contents(place)) == {"out.safetensors"}
    with safe_open(place / "out.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    assert about == {"imported_from": ["text_adapter.pth", "image_adapter_15.pth"]}


def test_one_dict_with_everything(importing: Callable[..., Ran], place: Path, tmp_path: Path) -> None:
    ran = importing(write_loop(tmp_path), out=place / "folder")
    state = imported(ran, place / "folder" / "imported.safetensors")
    assert len(state) == 27
    for name, ours in OURS.items():
        owner, _, key = name.partition(".")
        assert torch.equal(state[ours], part(owner)[key]), name
    assert "passed over: loop, text_optimizer, image_scheduler, losses" in ran.out
    assert "fresh" not in ran.out


def test_stages_go_by_what_they_are_and_not_by_their_names(
    importing: Callable[..., Ran], place: Path, tmp_path: Path, no_data: Path
) -> None:
    text = no_data.read_text()
    names = {"text_to_image": "alpha", "image_to_text": "beta", "text_adapter": "gamma", "vision_adapter": "delta"}
    for name, other in names.items():
        text = text.replace(f"[stages.{name}]", f"[stages.{other}]")
    no_data.write_text(text)
    state = imported(importing(write_loop(tmp_path)), place / "out.safetensors")
    for name, ours in OURS.items():
        for own, other in names.items():
            ours = ours.replace(f"stages.{own}.", f"stages.{other}.")
        owner, _, key = name.partition(".")
        assert torch.equal(state[ours], part(owner)[key]), name


def test_projections_with_an_activation_have_a_longer_name(
    aakit: Command, place: Path, tmp_path: Path, no_data: Path
) -> None:
    longer = {re.sub(r"(_proj.*)\.fc\.", r"\1.fc.0.", key): value for key, value in part("image_adapter").items()}
    file = write_loop(tmp_path, image_adapter=longer)
    to = ["--experiment", no_data, "--out", place / "out.safetensors"]
    assert_plain(aakit("import-checkpoint", file, *to))
    ran = aakit("import-checkpoint", file, *to, "--set", "model.projection_activation=true")
    state = imported(ran, place / "out.safetensors")
    assert torch.equal(state["heads.detection.linear.weight"], part("image_adapter")["det_proj.fc.weight"])


@pytest.mark.parametrize("base", [True, False], ids=["two files", "one dict"])
def test_there_and_back_is_bitwise(
    importing: Callable[..., Ran], aakit: Command, place: Path, tmp_path: Path, no_data: Path, base: bool
) -> None:
    first = imported(importing(*(write_two(tmp_path) if base else [write_loop(tmp_path)])), place / "out.safetensors")
    (place / "out.safetensors").rename(place / "loop_3.safetensors")
    export = ["export-checkpoint", place / "loop_3.safetensors", "--experiment", no_data, "--out", place / "pth"]
    ran = aakit(*export)
    assert (ran.code, ran.err) == (0, "")
    files = sorted((place / "pth").iterdir())
    expected = ["image_adapter_3.pth", "text_adapter.pth"] if base else ["loop_3_final.pth"]
    assert [file.name for file in files] == expected
    for file in files:
        content = torch.load(file, weights_only=True)
        assert content.pop("epoch", 3) == 3
        assert content.keys() <= SHAPES.keys()
        for name, found in content.items():
            assert_equal(found, part(name))
    assert_equal(imported(importing(*files, out=place / "again.safetensors"), place / "again.safetensors"), first)
    before = contents(place)
    ran = aakit(*export)
    assert_plain(ran)
    assert "exists already" in ran.err
    assert contents(place) == before


def test_a_run_starts_from_an_imported_base_checkpoint(
    importing: Callable[..., Ran], aakit: Command, place: Path, tmp_path: Path, small_experiment: Path
) -> None:
    """At rate 0 the weights stay, so the run's checkpoint shows what it started from."""
    imported(importing(*write_two(tmp_path)), place / "out.safetensors")
    still = ["scheduler.text_epochs=[1]", "scheduler.image_epochs=[1]", "scheduler.rate_factors=[1e-30]"]
    overrides = [word for one in still for word in ("--set", one)]
    start = ["--set", f"init.checkpoint={place / 'out.safetensors'}"]
    ran = aakit("run", small_experiment, "--out", place / "run", "--device", "cpu", *overrides, *start)
    assert (ran.code, ran.err) == (0, "")
    assert "out.safetensors; these stages start fresh: image_to_text, text_to_image" in ran.out
    trained = load_file(place / "run" / "checkpoints" / "loop_1.safetensors")
    assert len(trained) == 27
    for name, value in load_file(place / "out.safetensors").items():
        torch.testing.assert_close(trained[name], value, rtol=0, atol=1e-6)
    export = ["--experiment", place / "run" / "experiment.toml", "--out", place / "pth"]
    ran = aakit("export-checkpoint", place / "run" / "checkpoints" / "loop_1.safetensors", *export)
    assert ran.code == 0, ran.err
    assert torch.load(place / "pth" / "loop_1_final.pth", weights_only=True).keys() == SHAPES.keys()


SHIFT = '''
import torch
from aaclip_kit import AttentionStage, StageOptions, hookimpl

class ShiftOptions(StageOptions):
    """Adds a learnt vector."""

class Shift(AttentionStage):
    def __init__(self, options, setting):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(setting.width))

    def forward(self, tokens, context):
        return tokens + self.shift

@hookimpl
def register_attention_stages(register):
    register("shift", Shift, ShiftOptions)
'''


@pytest.fixture
def shifting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_data: Path) -> Iterator[Strangers]:
    """A stage that the published code does not have, in the experiment too."""
    no_data.write_text(no_data.read_text() + '[stages.moved]\nuse = "shift"\ntower = "text"\nafter = [1]\n')
    folder = tmp_path / "site"
    folder.mkdir()
    with strangers_in(folder, monkeypatch) as found:
        found.add("shift_stage", SHIFT)
        yield found


def test_a_stage_that_is_not_published_starts_fresh_and_is_not_exported(
    importing: Callable[..., Ran], aakit: Command, place: Path, tmp_path: Path, no_data: Path, shifting: Strangers
) -> None:
    ran = importing(write_loop(tmp_path))
    state = imported(ran, place / "out.safetensors")
    assert "starts these stages fresh: moved" in ran.out
    save_file({**state, "sites.stages.moved.1.shift": torch.zeros(16)}, place / "more.safetensors")
    export = ["--experiment", no_data, "--out", place / "pth"]
    before = contents(place)
    ran = aakit("export-checkpoint", place / "more.safetensors", *export)
    assert_plain(ran)
    assert "sites.stages.moved.1.shift has no place in a published checkpoint (tensors without one: 1)" in ran.err
    assert contents(place) == before
    torch.save(state, place / "loop_4.pth")
    assert aakit("export-checkpoint", place / "loop_4.pth", *export).code == 0, "it can do without that stage"
    assert_equal(
        torch.load(place / "pth" / "loop_4_final.pth", weights_only=True)["text_adapter"], part("text_adapter")
    )
