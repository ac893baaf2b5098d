"""Published checkpoints in and out: the names written out by hand, every tensor bit for bit, both ways."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ..command import Command, Ran
from ..strangers import SHIFT, Strangers, strangers_in
from .conftest import assert_plain, contents
from .published import OURS, SHAPES, assert_equal, imported, part, write_loop, write_two

pytestmark = pytest.mark.usefixtures("undrawn")


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
    assert about["imported_from"] == ["text_adapter.pth", "image_adapter_15.pth"]
    assert about["attending"] == [], "no attention was trained"


@pytest.mark.parametrize("bare", [None, "", "{}."], ids=["dict of dicts", "bare", "bare, prefixed"])
@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_what_was_saved_wrapped_is_unwrapped(
    importing: Callable[..., Ran], place: Path, tmp_path: Path, bare: str | None, wrapper: str
) -> None:
    """By DistributedDataParallel, `torch.compile`, or both."""
    plain, wrapped = write_two(tmp_path / "two", bare), write_two(tmp_path / "wrapped", bare)
    for file in wrapped:
        content = torch.load(file, weights_only=True)
        state = content if bare is not None else content[file.stem.removesuffix("_15")]
        for key in list(state):
            state[wrapper + key] = state.pop(key)
        torch.save(content, file)
    found = imported(importing(*wrapped), place / "out.safetensors")
    assert_equal(imported(importing(*plain, out=place / "plain.safetensors"), place / "plain.safetensors"), found)


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
    ran = aakit("import-checkpoint", file, *to, "--set", "head.activation=true")
    state = imported(ran, place / "out.safetensors")
    assert torch.equal(state["head.detection.linear.weight"], part("image_adapter")["det_proj.fc.weight"])


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


FULL = {"text": 768, "vision": 1024, "joint": 768}
"""Widths of the published architecture."""


def full_part(name: str) -> dict[str, torch.Tensor]:
    """A published part in its full shapes; each tensor has a value of its own."""
    text, vision, joint = FULL.values()
    shapes: dict[str, Mapping[str, tuple[int, ...]]] = {
        "text_adapter": {f"{n}.fc.0.weight": (text, text) for n in range(3)} | {"3.fc.0.weight": (joint, text)},
        "image_adapter": {f"layer_adapters.{n}.fc.0.weight": (vision, vision) for n in range(6)}
        | {f"seg_proj.{n}.fc.weight": (joint, vision) for n in range(4)}
        | {"det_proj.fc.weight": (joint, vision)},
        "text_cross_attn": attention_shapes(text, joint, text),
        "image_cross_attn": attention_shapes(vision, text, text),
    }
    return {key: torch.full(shape, float(place)) for place, (key, shape) in enumerate(shapes[name].items())}


def attention_shapes(width: int, context: int, inner: int) -> dict[str, tuple[int, ...]]:
    weights = {"q": (inner, width), "k": (inner, context), "v": (inner, context), "out": (width, inner)}
    return {
        name: shape
        for layer, size in weights.items()
        for name, shape in ((f"{layer}_proj.weight", size), (f"{layer}_proj.bias", size[:1]))
    }


@pytest.mark.parametrize("attention", [False, True], ids=["AA-CLIP", "feedback loops"])
def test_without_an_experiment_the_architecture_is_the_published_one(
    aakit: Command, place: Path, attention: bool
) -> None:
    """`aakit import-checkpoint text_adapter.pth image_adapter_15.pth --out DIR`, to the letter."""
    files = ["text_adapter.pth", "image_adapter_15.pth"]
    for name, file in zip(("text_adapter", "image_adapter"), files, strict=True):
        torch.save({"epoch": 15, name: full_part(name)}, place / file)
    if attention:
        files = ["loop_3_final.pth"]
        torch.save({"loop": 3, **{name: full_part(name) for name in SHAPES}}, place / files[0])
    ran = aakit("import-checkpoint", *files, "--out", "DIR")
    state = imported(ran, place / "DIR" / "imported.safetensors")
    assert len(state) == (31 if attention else 15)
    assert "fresh" not in ran.out
    assert float(state["sites.stages.vision_adapter.5.linear.weight"][0, 0]) == 5
    assert float(state["head.segmentation.18.linear.weight"][0, 0]) == 8
    with safe_open(place / "DIR" / "imported.safetensors", framework="pt") as file:
        metadata = file.metadata()
    experiment = tomllib.loads(metadata["experiment"])
    stages = {"text_adapter", "vision_adapter"} | ({"text_to_image", "image_to_text"} if attention else set())
    assert set(experiment["stages"]) == stages
    assert json.loads(metadata["about"])["attending"] == (["text", "vision"] if attention else [])
    ran = aakit("export-checkpoint", place / "DIR" / "imported.safetensors", "--out", "back")
    assert (ran.code, ran.err) == (0, "")
    (first, *_) = sorted((place / "back").iterdir())
    exported = torch.load(first, weights_only=True)
    assert_equal(exported["image_adapter"], full_part("image_adapter"))


def test_the_published_experiment_is_that_of_the_experiments_folder() -> None:
    root = Path(__file__).parents[2]
    packaged = tomllib.loads((root / "aaclip_kit" / "experiment" / "published.toml").read_text())
    given = tomllib.loads((root / "experiments" / "published_vitl_visa.toml").read_text())
    for table in ("profile", "backbone", "model", "stages", "losses", "scheduler", "calibration"):
        assert packaged[table] == given[table], table
    assert list(packaged["stages"]) == list(given["stages"]), "their order counts"


def test_what_does_not_fit_the_published_architecture_is_named(aakit: Command, place: Path, tmp_path: Path) -> None:
    ran = aakit("import-checkpoint", *write_two(tmp_path), "--out", "DIR")
    assert_plain(ran)
    assert "image_adapter.layer_adapters.2.fc.0.weight is missing" in ran.err
    assert contents(place) == {}


def test_an_imported_checkpoint_evaluates(
    importing: Callable[..., Ran], aakit: Command, place: Path, tmp_path: Path, small_experiment: Path
) -> None:
    """Stages that the files do not hold do not act; the others act with the files' weights."""
    means = {}
    for name, files in (("base", write_two(tmp_path)), ("loop", [write_loop(tmp_path)])):
        imported(
            importing(*files, out=place / f"{name}.safetensors", experiment=small_experiment),
            place / f"{name}.safetensors",
        )
        strong = ["--experiment", small_experiment, "--set", "stages.image_to_text.scale=5.0"]
        ran = aakit("evaluate", place / f"{name}.safetensors", "--json", *strong)
        assert (ran.code, ran.err) == (0, "")
        means[name] = json.loads(ran.out)["mean"]
    assert means["base"] != means["loop"]


@pytest.mark.slow
def test_a_runs_folder_stands_for_the_loop_that_it_quotes(
    aakit: Command, place: Path, trained: Path, small_experiment: Path
) -> None:
    for number, source in enumerate((trained, trained / "checkpoints" / "loop_2.safetensors")):
        ran = aakit("export-checkpoint", source, "--out", place / str(number))
        assert (ran.code, ran.err) == (0, "")
    whole = [torch.load(place / str(number) / "loop_2_final.pth", weights_only=True) for number in (0, 1)]
    for name in SHAPES:
        assert_equal(whole[0][name], whole[1][name])
    ran = aakit("run", small_experiment, "--dry-run", "--set", f"init.checkpoint={trained}")
    assert ran.code == 0, ran.err
    assert f"weights    start from {trained}" in ran.out
    ran = aakit("run", small_experiment, "--dry-run", "--set", f"init.checkpoint={place}")
    assert_plain(ran)
    assert "holds no finished run and no checkpoint" in ran.err
