"""Hostile checkpoints: one plain error in a short time, no code run, no weight changed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from aaclip_kit import UserError
from aaclip_kit.checkpoints.checkpoint import load_into, read, trained_state
from aaclip_kit.checkpoints.find_checkpoint import find_trained
from aaclip_kit.checkpoints.provenance import Metadata, Provenance, read_metadata
from aaclip_kit.evaluation.calibration import Calibration
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run

from ..build import build, values_of
from ..helpers import Code
from .given import NO_FILES, entry, safetensors_bytes, within

HEAD = "prompts.projection.weight"


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment)


FOUR = bytes(4)
HEADERS: dict[str, bytes] = {
    "a header longer than the file": safetensors_bytes({"a": entry([1], 0, 4)}, FOUR, length=10**6),
    "a header of exabytes": safetensors_bytes({"a": entry([1], 0, 4)}, FOUR, length=2**62),
    "a header of 200 MB that is not there": safetensors_bytes(b"{}", length=200 * 10**6),
    "overlapping tensors": safetensors_bytes({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
    "one place for two tensors": safetensors_bytes({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, FOUR),
    "a tensor beyond the file": safetensors_bytes({"a": entry([2], 0, 8)}, FOUR),
    "a place that ends before it begins": safetensors_bytes({"a": entry([1], 4, 0)}, FOUR),
    "a negative shape": safetensors_bytes({"a": entry([-1], 0, 4)}, FOUR),
    "a shape beyond 64 bits": safetensors_bytes({"a": entry([2**62, 4], 0, 4)}, FOUR),
    "a hole between tensors": safetensors_bytes({"a": entry([1], 0, 4), "b": entry([1], 8, 12)}, bytes(12)),
    "bytes that belong to nothing": safetensors_bytes({"a": entry([1], 0, 4)}, bytes(8)),
    "an unknown dtype": safetensors_bytes({"a": entry([1], 0, 4, "F31")}, FOUR),
    "a dtype that is a number": safetensors_bytes({"a": {**entry([1], 0, 4), "dtype": 3}}, FOUR),
    "six bits a number": safetensors_bytes({"a": entry([4], 0, 3, "F6_E2M3")}, bytes(3)),
    "brackets without an end": safetensors_bytes(b"[" * 100_000),
    "no JSON": safetensors_bytes(b'{"a": '),
    "a list": safetensors_bytes(b"[]"),
    "a name in no encoding": safetensors_bytes(b'{"\xff": {}}'),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_lies_is_one_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(HEADERS[name])
    # Newer versions of safetensors know numbers of six bits, and read what stands beside them.
    for reader in (read,) if name == "six bits a number" else (read, read_metadata):
        with within(10), pytest.raises(UserError, match="cannot be read: damaged, or no") as caught:
            reader(path)
        assert caught.value.where == str(path) and caught.value.fix and "\n" not in caught.value.problem


def test_headers_that_tell_the_truth_are_read(tmp_path: Path) -> None:
    path = tmp_path / "good.safetensors"
    path.write_bytes(safetensors_bytes({"a": entry([1], 0, 4), "b": entry([2], 4, 12)}, bytes(12)))
    assert {name: value.tolist() for name, value in read(path).items()} == {"a": [0.0], "b": [0.0, 0.0]}


def test_one_name_twice_is_one_tensor(tmp_path: Path) -> None:
    one = json.dumps(entry([1], 0, 4)).encode()
    path = tmp_path / "twice.safetensors"
    path.write_bytes(safetensors_bytes(b'{"a": ' + one + b', "a": ' + one + b"}", FOUR))
    assert {name: value.tolist() for name, value in read(path).items()} == {"a": [0.0]}


def _first(value: Tensor, number: float) -> Tensor:
    changed = value.clone()
    changed[0, 0] = number
    return changed


def _with(change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {**state, HEAD: change(state[HEAD])}


NUMBERS = {
    "whole numbers": (_with(lambda value: value.to(torch.int64)), "is no tensor of weights: it is torch.int64"),
    "truth values": (_with(lambda value: value > 0), "it is torch.bool"),
    "eight bits": (_with(lambda value: value.to(torch.float8_e4m3fn)), "it is torch.float8_e4m3fn"),
    "no number": (_with(lambda value: _first(value, float("nan"))), "holds numbers that are not finite"),
    "infinity": (_with(lambda value: _first(value, float("inf"))), "holds numbers that are not finite"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize(("change", "said"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_are_no_weights_are_refused(
    run: Run, tmp_path: Path, suffix: str, change: Callable[..., Any], said: str
) -> None:
    path, before = tmp_path / f"bad{suffix}", values_of(run.model)
    (save_file if suffix == ".safetensors" else torch.save)(change(trained_state(run.model)), path)
    with pytest.raises(UserError, match=said) as caught:
        load_into(run.model, path)
    assert HEAD in caught.value.problem
    assert all(torch.equal(value, before[name]) for name, value in values_of(run.model).items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_weights_all_the_same(run: Run, tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in trained_state(run.model).items()}
    save_file(state, tmp_path / "half.safetensors")
    load_into(run.model, tmp_path / "half.safetensors")
    assert torch.equal(trained_state(run.model)[HEAD], state[HEAD].float())


REFUSED: dict[str, Callable[[Tensor], Any]] = {
    "sparse": lambda value: value.to_sparse(),
    "complex": lambda value: value.to(torch.complex64),
    "on no device": lambda value: value.to("meta"),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_tensors_of_a_pickle_that_hold_no_plain_numbers_are_refused(
    run: Run, tmp_path: Path, change: Callable[[Tensor], Any]
) -> None:
    path, state, before = tmp_path / "odd.pth", trained_state(run.model), values_of(run.model)
    torch.save({**state, HEAD: change(state[HEAD])}, path)
    with pytest.raises(UserError) as caught:
        load_into(run.model, path)
    assert HEAD in caught.value.problem
    assert all(torch.equal(value, before[name]) for name, value in values_of(run.model).items())


VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "one number for all": lambda value: value[:1, :1].expand(value.shape),
    "a negative view": lambda value: torch._neg_view(value),
}


@pytest.mark.parametrize("change", VIEWS.values(), ids=VIEWS)
def test_views_in_a_pickle_are_read_as_their_numbers(
    run: Run, tmp_path: Path, change: Callable[[Tensor], Tensor]
) -> None:
    path, state = tmp_path / "odd.pth", trained_state(run.model)
    expected = change(state[HEAD]).clone()
    torch.save({**state, HEAD: change(state[HEAD])}, path)
    load_into(run.model, path)
    assert torch.equal(trained_state(run.model)[HEAD], expected)


def _bare(folder: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps(Code(folder)))


def _zipped(folder: Path, path: Path) -> None:
    torch.save({"a": Code(folder)}, path)


def _replaced(folder: Path, path: Path) -> None:
    """A whole checkpoint, its table of tensors exchanged for code."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Code(folder)) if name.endswith("data.pkl") else old.read(name))


def _script(folder: Path, path: Path) -> None:
    """A whole program as torch once saved them."""
    torch.save({"a": torch.zeros(1)}, path)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr(f"{path.stem}/constants.pkl", pickle.dumps(Code(folder)))


@pytest.mark.parametrize("write", [_bare, _zipped, _replaced, _script])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, write: Callable[[Path, Path], None]) -> None:
    path, ran = tmp_path / "code.pth", tmp_path / "ran"
    write(ran, path)
    with pytest.raises(UserError, match="cannot be read") as caught:
        read(path)
    assert "weights_only" not in str(caught.value)
    assert not ran.exists()


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_what_is_no_file_is_neither_waited_for_nor_read(
    tmp_path: Path, make: Callable[[Path], None], suffix: str
) -> None:
    path = tmp_path / f"loop_1{suffix}"
    make(path)
    for reader in (read, read_metadata):
        with within(5), pytest.raises(UserError, match="there is no such checkpoint"):
            reader(path)


NORMAL = {"grid_mean": 0.0, "grid_deviation": 1.0, "image_mean": 0.0, "image_deviation": 1.0}
METADATA = {
    "brackets": {"about": "[" * 100_000},
    "an endless number": {"about": "1" * 5000},
    "a list for names": {"about": json.dumps({"real_names": [1]})},
    "a number for names": {"about": json.dumps({"real_names": {"a": 3}})},
    "an unknown domain": {"about": json.dumps({"domain": "culinary"})},
    "an unknown tower": {"about": json.dumps({"attending": ["text", "audio"]})},
    "a text for a loop": {"about": json.dumps({"loop": "first"})},
    "a number for data sets": {"about": json.dumps({"trained_on": 5})},
    "thresholds that are texts": {"calibration": json.dumps({"rule": "fpr", "image_threshold": "high"})},
    "no thresholds": {"calibration": "[]"},
    "a deviation below zero": {"normal_scores": json.dumps({"a": {**NORMAL, "grid_deviation": -1.0}})},
}


CALIBRATION: dict[str, Any] = {
    "rule": "fpr", "fpr": 0.1, "source": "data.validation", "counts": {"normal": 4, "anomalous": 2},
    "image_threshold": 0.25, "map_threshold": None, "reasons": {"map_threshold": "no masks"}, "classes": ["a"],
    "expected": [0.0, 0.06], "normal_scores": [0.1, 0.2], "tiles": 3,
    "achieved": {"image": {"fpr": 0.0, "f1": 1.0}, "map": {"fpr": None, "f1": None}},
}  # fmt: skip
ABOUT: dict[str, Any] = {
    "experiment": "small", "loop": 1, "imported_from": [], "attending": ["text"], "domain": "industrial",
    "real_names": {"a": "a"}, "trained_on": [], "unknown_start": False, "reference_tiles": 3,
}  # fmt: skip
NAN = float("nan")
WRONG: dict[str, list[Any]] = {
    **{key: [NAN, float("inf"), True, "0.5", 1e300, [0.5], {}] for key in ("image_threshold", "map_threshold")},
    **{key: [NAN, True, "0.1", -0.1, 1.5] for key in ("fpr", "achieved.image.fpr", "achieved.map.f1")},
    **{key: [-1, True, 1.5, "4", NAN, None] for key in ("counts.normal", "counts.anomalous")},
    **{"rule": ["best", 1, None], "source": [3, None], "counts": [[4, 2], {"odd": 1}], "achieved": [[], {"text": {}}]},
    **{"reasons": [[], {"map_threshold": 3}], "classes": ["a", [1], {"a": "a"}]},
    **{"expected": [0.5, [0.1], [0.0, 1.5], [NAN, 1.0], [0.0, "1"], [0.5, 0.1]]},
    **{"normal_scores": [3, [NAN], ["1"], [True], [0.2, 0.1]]},
    **{key: ["all", 0, 101, 1.5, True, [3]] for key in ("tiles", "reference_tiles")},
    **{
        "loop": [True, -1, 1.5, "1", NAN, 10**30],
        "experiment": [3, None, True],
        "unknown_start": [1, 0, "no", None],
    },
    **{key: ["text", [1], [None], 3] for key in ("imported_from", "attending")},
    **{"domain": ["culinary", None, 1], "real_names": [None, [], {"a": None}], "trained_on": [5, [5], None]},
}
"""Values that each field of what a checkpoint says of itself cannot have."""


def _changed(table: dict[str, Any], field: str, value: Any) -> str:
    first, _, rest = field.partition(".")
    inner = json.loads(_changed(table[first], rest, value)) if rest else value
    return json.dumps({**table, first: inner})


def test_every_field_has_values_that_it_cannot_have() -> None:
    given = {field.partition(".")[0] for field in WRONG}
    assert given == {one.name for kind in (Provenance, Calibration) for one in fields(kind)} == {*ABOUT, *CALIBRATION}
    whole = {"about": json.dumps(ABOUT), "calibration": json.dumps(CALIBRATION), "training_images": "0" * 16}
    assert Metadata.from_strings(whole).calibration is not None


@pytest.mark.parametrize("field", WRONG)
def test_a_field_of_another_type_or_beyond_its_bounds_is_one_error(tmp_path: Path, field: str) -> None:
    path, key = tmp_path / "bad.safetensors", "about" if field in ABOUT else "calibration"
    for value in WRONG[field]:
        save_file({"x": torch.zeros(1)}, path, {key: _changed({**ABOUT, **CALIBRATION}, field, value)})
        with pytest.raises(UserError, match="damaged, or no checkpoint"):
            read_metadata(path)
            pytest.fail(f"{field} = {value!r} was taken")


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": "aaclip_kit checkpoint 2x"},
        {"format": "aaclip_kit checkpoint 0"},
        {"training_images": "not/a/digest"},
        {"training_images": "A" * 16},
    ],
)
def test_another_format_and_digests_that_are_none_are_one_error(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "bad.safetensors", metadata)
    with pytest.raises(UserError, match="damaged, or no checkpoint"):
        read_metadata(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "about", [{"experiment": 5}, {"training_images": 5}, {"calibration": CALIBRATION}, [], None, 3]
)
def test_metadata_beside_a_pickle_are_texts(tmp_path: Path, about: Any) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "a.pth")
    (tmp_path / "a.pth.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="damaged, or no checkpoint"):
        read_metadata(tmp_path / "a.pth")


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_metadata_of_wrong_types_are_one_error(tmp_path: Path, metadata: dict[str, str]) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata)
    with within(10), pytest.raises(UserError, match="damaged, or no checkpoint") as caught:
        read_metadata(path)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "text",
    ["x" * 5_000_000, "[" * 100_000, "a" + ".a" * 100_000 + " = 1", "seed = " + "9" * 5000, "\0", "seed = 1\n" * 2],
    ids=["letters", "brackets", "dots", "an endless number", "a zero byte", "a key twice"],
)
def test_an_experiment_in_a_checkpoint_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"experiment": text})
    with within(10), pytest.raises(UserError, match="is not TOML") as caught:
        find_trained(path, discover())
    assert len(str(caught.value)) < 2000
