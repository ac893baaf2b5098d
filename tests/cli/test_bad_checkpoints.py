"""Published checkpoints that are refused: one plain message, exit code 2, nothing written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ..command import Command, Ran
from ..helpers import Code
from .conftest import assert_plain, contents
from .published import D_JOINT, D_VISION, SHAPES, State, imported, part, write_loop, write_two


def _loop(**changes: Any) -> Callable[[Path], list[Path]]:
    return lambda folder: [write_loop(folder, **changes)]


def _changed(name: str, key: str, value: Any) -> Callable[[Path], list[Path]]:
    """The one dict with one tensor put in, or left out where `value` is None."""
    state = {**part(name), key: value}
    return _loop(**{name: {key: value for key, value in state.items() if value is not None}})


def _truncated(folder: Path) -> list[Path]:
    path = write_loop(folder)
    path.write_bytes(path.read_bytes()[:-200])
    return [path]


def _of(content: object, name: str = "loop_1_final.pth") -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        torch.save(content, folder / name)
        return [folder / name]

    return write


def _bytes(content: bytes) -> Callable[[Path], list[Path]]:
    def write(folder: Path) -> list[Path]:
        (folder / "a.pth").write_bytes(content)
        return [folder / "a.pth"]

    return write


def _with_code(folder: Path) -> list[Path]:
    return [write_loop(folder, note=Code(folder / "ran"))]


def _bare_code(folder: Path) -> list[Path]:
    return _bytes(pickle.dumps(Code(folder / "ran")))(folder)


def _doubled(folder: Path) -> list[Path]:
    return [*write_two(folder), write_loop(folder)]


def _wider(name: str) -> dict[str, Tensor]:
    return {key: torch.zeros([2 * side for side in shape]) for key, shape in SHAPES[name].items()}


ALIEN = "belong to none of text_adapter, image_adapter, text_cross_attn, image_cross_attn"
BAD = {
    "another width": (_loop(text_adapter=_wider("text_adapter")), "(32, 32), this experiment needs (16, 16)"),
    "truncated": (_truncated, "cannot be read: damaged"),
    "empty": (_bytes(b""), "cannot be read: it is empty"),
    "text": (_bytes(b"this is text"), "cannot be read"),
    "absent": (lambda folder: [folder / "none.pth"], "there is no such file"),
    "a folder": (lambda folder: [folder], "there is no such file"),
    "a missing key": (
        _changed("text_adapter", "1.fc.0.weight", None),
        "text_adapter.1.fc.0.weight is missing",
    ),
    "a missing key of attention": (
        _changed("text_cross_attn", "k_proj.bias", None),
        "text_cross_attn.k_proj.bias is missing",
    ),
    "an extra key": (
        _changed("image_adapter", "seg_proj.4.fc.weight", torch.zeros(D_JOINT, D_VISION)),
        "image_adapter.seg_proj.4.fc.weight has no place",
    ),
    "an extra key of attention": (
        _changed("image_cross_attn", "gate", torch.zeros(1)),
        "image_cross_attn.gate has no place in this experiment",
    ),
    "a number for a tensor": (_changed("text_adapter", "0.fc.0.weight", 3.0), "0.fc.0.weight is no tensor of weights"),
    "whole numbers": (
        _changed("text_adapter", "0.fc.0.weight", torch.zeros(16, 16, dtype=torch.int64)),
        "0.fc.0.weight is no tensor of weights",
    ),
    "a sparse tensor": (
        _changed("text_adapter", "0.fc.0.weight", torch.zeros(16, 16).to_sparse()),
        "0.fc.0.weight is no tensor of weights",
    ),
    "one key twice": (_changed("text_adapter", "text_adapter.0.fc.0.weight", torch.zeros(1)), "weight twice"),
    "an unknown part": (_loop(router={"weight": torch.zeros(2)}), f"'router' holds tensors that {ALIEN}"),
    "an unknown tensor": (_loop(temperature=torch.zeros(())), f"'temperature' holds tensors that {ALIEN}"),
    "one of two files": (lambda folder: write_two(folder)[:1], "image_adapter is missing"),
    "the other of two files": (lambda folder: write_two(folder)[1:], "text_adapter is missing"),
    "two checkpoints": (_doubled, "loop_2_final.pth: holds text_adapter, as "),
    "attention of an unknown side": (
        _of({"q_proj.weight": torch.zeros(2, 2)}),
        f"'q_proj.weight' holds tensors that {ALIEN}",
    ),
    "a list": (_of([torch.zeros(2)]), "holds no tensors by name"),
    "numbered tensors": (_of({0: torch.zeros(2)}), "holds no tensors by name"),
    "nothing": (_of({"epoch": 3}), "text_adapter and image_adapter is missing"),
    "a pickle with code": (_with_code, "cannot be read: it holds "),
    "a bare pickle with code": (_bare_code, "refused, since loading it could run its code"),
    "an object": (_loop(args=Path("x")), "cannot be read: it holds pathlib."),
}


@pytest.mark.parametrize(("write", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_imported_is_one_message_and_nothing_written(
    importing: Callable[..., Ran], place: Path, tmp_path: Path, write: Callable[[Path], list[Path]], said: str
) -> None:
    files = write(tmp_path)
    ran = importing(*files)
    assert_plain(ran)
    assert said in ran.err
    assert str(files[0].parent) in ran.err, "it names a file"
    assert "weights_only" not in ran.err and "\x1b" not in ran.err
    assert contents(place) == {}
    assert not (tmp_path / "ran").exists(), "code of a pickle has run"


def test_a_list_that_holds_itself_ends(importing: Callable[..., Ran], place: Path, tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    imported(importing(write_loop(tmp_path, notes=endless)), place / "out.safetensors")


def test_tensors_that_share_memory(importing: Callable[..., Ran], place: Path, tmp_path: Path) -> None:
    shared = {**part("text_adapter"), "1.fc.0.weight": torch.ones(16, 16).T}
    shared["2.fc.0.weight"] = shared["1.fc.0.weight"]
    state = imported(importing(write_loop(tmp_path, text_adapter=shared)), place / "out.safetensors")
    assert torch.equal(state["sites.stages.text_adapter.2.linear.weight"], torch.ones(16, 16))


STAGES = {
    "two adapters": (
        '[stages.more]\nuse = "residual_adapter"\ntower = "text"\nafter = [3]\n',
        "stages.more, stages.text_adapter: each of these could be the published text_adapter",
    ),
    "two attentions": (
        '[stages.more]\nuse = "image_to_text"\nafter = [2]\n',
        "stages.image_to_text, stages.more: each of these could be the published image_cross_attn",
    ),
}


@pytest.mark.parametrize(("table", "said"), STAGES.values(), ids=STAGES)
def test_an_ambiguous_experiment_is_refused(
    importing: Callable[..., Ran], aakit: Command, place: Path, tmp_path: Path, no_data: Path, table: str, said: str
) -> None:
    imported(importing(write_loop(tmp_path)), place / "out.safetensors")
    no_data.write_text(no_data.read_text() + table)
    before = contents(place)
    for ran in (
        importing(write_loop(tmp_path), out=place / "other.safetensors"),
        aakit("export-checkpoint", place / "out.safetensors", "--experiment", no_data, "--out", place / "pth"),
    ):
        assert_plain(ran)
        assert said in ran.err
    assert contents(place) == before


OVERRIDES = {
    "a gap between adapters": ("stages.text_adapter.after=[0, 2, 3]", "[0, 2, 3] are not the blocks of the published"),
    "attention elsewhere": ("stages.image_to_text.after=[1]", "which acts after block 0 alone"),
    "fewer adapters": ("stages.vision_adapter.after=[0]", "image_adapter.layer_adapters.1.fc.0.weight has no place"),
    "other levels": ("model.levels=[4, 8]", "image_adapter.seg_proj.2.fc.weight has no place"),
    "no such block": ("stages.text_adapter.after=[4]", "the text tower has blocks 0 to 3"),
    "an unknown key": ("backbone.modle=x", "backbone.modle: unknown key"),
}


@pytest.mark.parametrize(("override", "said"), OVERRIDES.values(), ids=OVERRIDES)
def test_an_experiment_of_another_shape_is_refused(
    aakit: Command, place: Path, tmp_path: Path, no_data: Path, override: str, said: str
) -> None:
    to = ["--experiment", no_data, "--out", place / "out.safetensors", "--set", override]
    ran = aakit("import-checkpoint", write_loop(tmp_path), *to)
    assert_plain(ran)
    assert said in ran.err
    assert contents(place) == {}


def test_a_base_checkpoint_does_not_care_about_ambiguous_attention(
    importing: Callable[..., Ran], place: Path, tmp_path: Path, no_data: Path
) -> None:
    no_data.write_text(no_data.read_text() + STAGES["two attentions"][0])
    ran = importing(*write_two(tmp_path))
    assert len(imported(ran, place / "out.safetensors")) == 11
    assert "fresh: image_to_text, more, text_to_image" in ran.out


def _without(state: State, *stages: str) -> State:
    return {name: value for name, value in state.items() if not any(f".{stage}." in name for stage in stages)}


EXPORTS: dict[str, tuple[Callable[[State], State], str]] = {
    "of another experiment": (lambda state: {**state, "x": torch.zeros(1)}, "x has no place in this experiment"),
    "a missing tensor": (
        lambda state: {name: value for name, value in state.items() if name != "prompts.projection.weight"},
        "prompts.projection.weight is missing",
    ),
    "another width": (
        lambda state: {**state, "prompts.projection.weight": torch.zeros(2, 2)},
        "prompts.projection.weight is (2, 2), this experiment needs (24, 16)",
    ),
    "without its adapter": (
        lambda state: _without(state, "text_adapter"),
        "sites.stages.text_adapter.0.linear.weight is missing, without which text_adapter is not whole",
    ),
}


@pytest.mark.parametrize(("change", "said"), EXPORTS.values(), ids=EXPORTS)
def test_what_cannot_be_exported_is_one_message_and_nothing_written(
    importing: Callable[..., Ran],
    aakit: Command,
    place: Path,
    tmp_path: Path,
    no_data: Path,
    change: Callable[[State], State],
    said: str,
) -> None:
    state = imported(importing(write_loop(tmp_path), out=tmp_path / "x.safetensors"), tmp_path / "x.safetensors")
    save_file(change(state), tmp_path / "y.safetensors")
    ran = aakit("export-checkpoint", tmp_path / "y.safetensors", "--experiment", no_data, "--out", place / "pth")
    assert_plain(ran)
    assert said in ran.err
    assert contents(place) == {}


@pytest.mark.parametrize(
    ("present", "out", "said"),
    [
        ("out.safetensors", "out.safetensors", "exists already"),
        ("folder/imported.safetensors", "folder", "exists already"),
        ("file", "file/deep/out.safetensors", "cannot be written"),
        (".keep", "out.pth", "written as .safetensors alone"),
    ],
)
def test_a_place_that_cannot_be_written(
    importing: Callable[..., Ran], place: Path, tmp_path: Path, present: str, out: str, said: str
) -> None:
    (place / present).parent.mkdir(exist_ok=True)
    (place / present).write_text("kept")
    before = contents(place)
    ran = importing(*write_two(tmp_path), out=place / out)
    assert_plain(ran)
    assert said in ran.err
    assert contents(place) == before


def test_an_export_to_a_place_that_cannot_be_written(
    importing: Callable[..., Ran], aakit: Command, place: Path, tmp_path: Path, no_data: Path
) -> None:
    imported(importing(*write_two(tmp_path)), place / "out.safetensors")
    (place / "file").write_text("kept")
    (place / "half").mkdir()
    (place / "half" / "image_adapter_1.pth").write_text("kept")
    before = contents(place)
    for out in ("file", "file/deep", "half"):
        ran = aakit("export-checkpoint", place / "out.safetensors", "--experiment", no_data, "--out", place / out)
        assert_plain(ran)
        assert contents(place) == before
