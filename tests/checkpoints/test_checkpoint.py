"""Checkpoints: written whole, read back bit for bit, refused plainly where they do not fit."""

from __future__ import annotations

import json
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from aaclip_kit import UserError
from aaclip_kit.checkpoints.checkpoint import load_into, read, save, trained_state
from aaclip_kit.checkpoints.provenance import Metadata, Provenance, read_metadata
from aaclip_kit.evaluation.calibration import Calibration
from aaclip_kit.run.assemble import Run

from ..build import build, move_weights, values_of
from ..helpers import Code
from ..limits import files_of_at_most

HEAD = "prompts.projection.weight"
State = dict[str, Tensor]
METADATA = Metadata(
    Provenance("small", 1, (), ("text", "vision"), "medical", {"red_cloth": "red cloth"}, ("mvtec",)),
    "seed = 3\n",
    Calibration(
        rule="fpr", fpr=0.01, source="data.validation", counts={"normal": 4, "anomalous": 2},
        image_threshold=0.25, map_threshold=None,
        achieved={"image": {"fpr": 0.0, "f1": 1.0}, "map": {"fpr": None, "f1": None}},
        reasons={"map_threshold": "no masks"},
    ),
    ("0123456789abcdef",),
)  # fmt: skip


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment)


def test_the_seed_is_that_of_the_run_and_an_imported_checkpoint_has_none() -> None:
    imported = replace(METADATA, about=replace(METADATA.about, imported_from=("text_adapter.pth",)))
    broken = (replace(METADATA, experiment=text) for text in ("seed =", 'seed = "3"', None))
    assert (METADATA.seed, imported.seed, *(one.seed for one in broken)) == (3, None, None, None, None)


def all_equal(first: State, second: State) -> bool:
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_round_trip_is_bitwise(run: Run, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"loop_1{suffix}"
    save(run.model, path, METADATA)
    before = values_of(run.model)
    assert all_equal(read(path), trained_state(run.model))
    move_weights(run.model, seed=9)
    assert not all_equal(before, values_of(run.model))
    assert load_into(run.model, path) == []
    assert all_equal(before, values_of(run.model))
    assert read_metadata(path) == METADATA
    beside = {"loop_1.pth.json"} if suffix == ".pth" else set()
    assert {found.name for found in tmp_path.glob("loop_1*")} == {path.name, *beside}


def test_the_names_of_an_earlier_version_are_read(run: Run, tmp_path: Path) -> None:
    state, path = trained_state(run.model), tmp_path / "old.safetensors"
    renamed = {"prompts.projection.": "heads.text.linear.", "head.": "heads."}

    def earlier(name: str) -> str:
        return next((old + name.removeprefix(new) for new, old in renamed.items() if name.startswith(new)), name)

    save_file({earlier(name): value for name, value in state.items()}, path)
    assert {"heads.text.linear.weight", "heads.segmentation.2.linear.weight"} <= set(load_file(path))
    move_weights(run.model, seed=9)
    assert load_into(run.model, path) == []
    assert all_equal(trained_state(run.model), state)


def test_it_holds_what_trains_and_says_what_it_is(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "loop_1.safetensors"
    save(run.model, path, METADATA)
    names = {name for name, _ in run.model.named_parameters() if not name.startswith("backbone.")}
    assert set(load_file(path)) == {re.sub("^slots", "sites", name) for name in names}, "the name that files have"
    with safe_open(path, framework="pt") as file:
        strings = file.metadata()
    assert set(strings) == {"format", "about", "experiment", "calibration", "training_images", "aaclip_kit_crc32"}
    assert (strings["format"], strings["experiment"]) == ("aaclip_kit checkpoint 1", "seed = 3\n")
    assert json.loads(strings["about"])["attending"] == ["text", "vision"]
    assert json.loads(strings["calibration"])["image_threshold"] == 0.25


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_failed_save_leaves_the_old_checkpoint(run: Run, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"loop_1{suffix}"
    save(run.model, path, METADATA)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with torch.no_grad():
        next(iter(run.model.all_trained_parameters().values())).add_(1.0)
    with files_of_at_most(200), pytest.raises(OSError, match="File too large"):
        save(run.model, path, METADATA)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    save(run.model, path, METADATA)
    assert path.read_bytes() != before[path]


def missing(state: State, path: Path) -> str:
    del state[HEAD]
    save_file(state, path)
    return f"does not fit: {HEAD} is missing"


def part_of_a_stage_missing(state: State, path: Path) -> str:
    name = "sites.stages.text_adapter.1.linear.weight"
    del state[name]
    save_file(state, path)
    return f"does not fit: {name} is missing"


def extra(state: State, path: Path) -> str:
    save_file({**state, "head.other.linear.weight": torch.zeros(2)}, path)
    return "does not fit: head.other.linear.weight has no place in this experiment"


def a_stage_that_is_not_here(state: State, path: Path) -> str:
    save_file({**state, "sites.stages.other.0.linear.weight": torch.zeros(2)}, path)
    return "does not fit: sites.stages.other.0.linear.weight has no place in this experiment"


def wrong_shape(state: State, path: Path) -> str:
    save_file({**state, HEAD: torch.zeros(3, 5)}, path)
    return rf"does not fit: {HEAD} is \(3, 5\), this experiment needs \(24, 16\)"


def many_faults(state: State, path: Path) -> str:
    save_file({name + ".old": value for name, value in state.items()}, path)
    return r"does not fit: .*; .*; .* and \d+ more\n"


def truncated(state: State, path: Path) -> str:
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:-100])
    return "cannot be read"


def empty(state: State, path: Path) -> str:
    path.write_bytes(b"")
    return "cannot be read"


def enormous_header(state: State, path: Path) -> str:
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    return "cannot be read"


def truncated_pickle(state: State, path: Path) -> str:
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-100])
    return "cannot be read"


def pickle_with_code(state: State, path: Path) -> str:
    torch.save({**state, "code": Code(path.with_suffix(".ran"))}, path)
    return "cannot be read"


def bare_pickle_with_code(state: State, path: Path) -> str:
    path.write_bytes(pickle.dumps(Code(path.with_suffix(".ran"))))
    return "cannot be read"


def pickle_of_a_list(state: State, path: Path) -> str:
    torch.save(list(state.values()), path)
    return "no plain table of tensors"


def pickle_with_a_number(state: State, path: Path) -> str:
    torch.save({**state, "loop": 1}, path)
    return "no plain table of tensors"


def absent(state: State, path: Path) -> str:
    return "there is no such checkpoint"


SAFETENSORS = [
    *(missing, part_of_a_stage_missing, extra, a_stage_that_is_not_here, wrong_shape, many_faults),
    *(truncated, empty, enormous_header, absent),
]
PICKLES = [truncated_pickle, pickle_with_code, bare_pickle_with_code, pickle_of_a_list, pickle_with_a_number, empty]
CASES = [(case, ".safetensors") for case in SAFETENSORS] + [(case, ".pth") for case in PICKLES]


@pytest.mark.parametrize(("case", "suffix"), CASES, ids=lambda found: getattr(found, "__name__", found))
def test_what_does_not_fit_is_one_error_and_changes_nothing(
    run: Run, tmp_path: Path, case: Callable[[State, Path], str], suffix: str
) -> None:
    path = tmp_path / f"bad{suffix}"
    expected = case(trained_state(run.model), path)
    before = values_of(run.model)
    with pytest.raises(UserError, match=expected) as caught:
        load_into(run.model, path)
    assert caught.value.where == str(path) and caught.value.fix
    assert "\n" not in caught.value.problem
    assert all_equal(before, values_of(run.model))
    assert not path.with_suffix(".ran").exists(), "code of a pickle has run"


def test_stages_that_it_lacks_entirely_start_fresh(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "base.safetensors"
    state = trained_state(run.model)
    attention = {name for name in state if ".text_to_image." in name or ".image_to_text." in name}
    save_file({name: value for name, value in state.items() if name not in attention}, path)
    move_weights(run.model, seed=9)
    moved = {name: value.clone() for name, value in trained_state(run.model).items()}
    assert load_into(run.model, path) == ["image_to_text", "text_to_image"]
    for name, value in trained_state(run.model).items():
        assert torch.equal(value, moved[name] if name in attention else state[name])


def test_metadata_of_other_files(run: Run, tmp_path: Path) -> None:
    """A file without any has empty metadata; keys that a later version may add are passed over."""
    save_file(trained_state(run.model), tmp_path / "bare.safetensors")
    torch.save(trained_state(run.model), tmp_path / "bare.pth")
    for name in ("bare.safetensors", "bare.pth"):
        assert read_metadata(tmp_path / name) == Metadata()
    save_file({"x": torch.zeros(1)}, tmp_path / "new.safetensors", {"about": '{"loop": 2, "later": [1]}'})
    assert read_metadata(tmp_path / "new.safetensors") == Metadata(Provenance(loop=2))


@pytest.mark.parametrize("about", ["no JSON", "[1]", "3"])
def test_damaged_metadata_are_one_error(tmp_path: Path, about: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "bad.safetensors", {"about": about})
    with pytest.raises(UserError, match="damaged, or no checkpoint"):
        read_metadata(tmp_path / "bad.safetensors")


def test_a_newer_format_is_said_to_be_newer_with_what_helps(tmp_path: Path) -> None:
    for number in (2, 13):
        save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", {"format": f"aaclip_kit checkpoint {number}"})
        with pytest.raises(UserError, match="was written by a newer version") as caught:
            read_metadata(tmp_path / "a.safetensors")
        assert caught.value.where == str(tmp_path / "a.safetensors")
        assert caught.value.fix == "pip install -U aaclip-kit"
