"""Checkpoint files of any content: tensors and metadata, or one plain error; never code, and no weight changed."""

from __future__ import annotations

import io
import json
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from aaclip_kit import UserError
from aaclip_kit.checkpoints.checkpoint import load_into, read, trained_state
from aaclip_kit.checkpoints.provenance import Metadata, read_metadata
from aaclip_kit.model.anomaly_model import AnomalyModel

from ..build import build
from ..hostile.given import safetensors_bytes
from ..hostile.test_checkpoints import ABOUT, CALIBRATION
from .build import METADATA, SMALL
from .cases import NUMBERS, TEXTS, VALUES, damaged, file_of, fuzzed, result_of


def pickled(content: Any, zipped: bool = True) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=zipped)
    return out.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> AnomalyModel:
    from ..conftest import EXPERIMENT

    file = tmp_path_factory.mktemp("fuzz") / "small.toml"
    file.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    return build(file).model


def outcome(content: bytes, name: str) -> Any:
    with file_of(content, name) as path:
        metadata = result_of(read_metadata, path)
        if isinstance(metadata, Metadata):
            assert Metadata.from_strings(metadata.as_strings()) == metadata
            assert result_of(metadata.started_from, metadata)
        found = result_of(read, path)
        assert isinstance(found, UserError) or all(isinstance(value, Tensor) for value in found.values())
        return found


@pytest.mark.parametrize(("content", "name"), [(save(SMALL, METADATA), "a.safetensors"), (pickled(SMALL), "a.pth")])
def test_what_is_whole_is_read(content: bytes, name: str) -> None:
    found = outcome(content, name)
    assert found.keys() == SMALL.keys() and all(torch.equal(found[key], value) for key, value in SMALL.items())


@given(damaged([save(SMALL, METADATA), save({"a": torch.zeros(0)})]))
@fuzzed()
def test_damaged_safetensors(content: bytes) -> None:
    outcome(content, "a.safetensors")


DTYPES = st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X", 3, None])
ENTRIES = st.fixed_dictionaries(
    {"dtype": DTYPES, "shape": st.lists(NUMBERS, max_size=3), "data_offsets": st.lists(st.integers(-4, 40), max_size=3)}
)
HEADERS = st.dictionaries(TEXTS, st.one_of(ENTRIES, VALUES), max_size=4)


@given(
    HEADERS,
    st.dictionaries(st.sampled_from([*METADATA, "x"]), st.one_of(VALUES.map(json.dumps), TEXTS)),
    st.integers(0, 40),
)
@fuzzed()
def test_safetensors_that_say_anything(header: dict[str, Any], metadata: dict[str, str], size: int) -> None:
    outcome(safetensors_bytes({**header, "__metadata__": metadata}, bytes(size)), "a.safetensors")


@st.composite
def changed(draw: st.DrawFn) -> dict[str, str]:
    """What a checkpoint says of itself, whole but for some values, at any depth."""
    tables: dict[str, Any] = {"about": {**ABOUT}, "calibration": json.loads(json.dumps(CALIBRATION))}
    for _ in range(draw(st.integers(1, 3))):
        table = draw(st.sampled_from([*tables.values(), *(tables["calibration"]["achieved"] or {"": {}}).values()]))
        if isinstance(table, dict) and table:
            table[draw(st.sampled_from(sorted(table)))] = draw(VALUES)
        if not isinstance(tables["calibration"]["achieved"], dict):
            break
    return {key: json.dumps(table) for key, table in tables.items()}


@given(changed())
@fuzzed(2.0)
def test_metadata_with_some_values_exchanged(metadata: dict[str, str]) -> None:
    with file_of(save(SMALL, metadata), "a.safetensors") as path:
        found = result_of(read_metadata, path)
    if isinstance(found, Metadata):
        assert found.calibration is not None and Metadata.from_strings(found.as_strings()) == found
        json.dumps(found.as_strings(), allow_nan=False)
        for value in (found.calibration.image_threshold, found.calibration.map_threshold):
            assert value is None or (type(value) is float and math.isfinite(value))
        assert found.about.loop is None or type(found.about.loop) is int


@given(damaged([pickled(SMALL), pickled(SMALL, zipped=False), pickle.dumps({"a": [1, {"b": (2.0, None)}]})]))
@fuzzed()
def test_damaged_pickles(content: bytes) -> None:
    outcome(content, "a.pth")


@given(st.data())
@fuzzed(0.3)
def test_a_checkpoint_is_loaded_whole_or_not_at_all(model: AnomalyModel, data: st.DataObject) -> None:
    state = trained_state(model)
    before = {name: value.clone() for name, value in state.items()}
    content = data.draw(damaged([save(state, METADATA)], most=3))
    with file_of(content, "a.safetensors") as path:
        found = result_of(load_into, model, path)
    after = trained_state(model)
    if isinstance(found, UserError):
        assert all(torch.equal(before[name], value) for name, value in after.items())
    else:
        assert all(torch.isfinite(value).all() for value in after.values())
