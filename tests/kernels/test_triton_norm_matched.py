"""The fused kernel in Triton's interpreter, against the formula in float64; and a run that is trained with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aaclip_kit.kernels.norm_matched import formula

from ..conftest import EXPERIMENT
from ..helpers import assert_close
from ..once import once
from .cases import CASES, UNREAD, Case

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Relative, of one rounding at the end; the interpreter cuts off what does not fit into bfloat16."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, tiny_clip: Path, defects: Path) -> dict[str, Any]:
    """What the interpreter gives. It is chosen when Triton is imported, so it has a process of its own."""
    pytest.importorskip("triton")

    def interpret(folder: Path) -> None:
        file, out = folder / "small.toml", folder / "found.pt"
        file.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
        command = [sys.executable, "-m", "tests.kernels.interpreted", str(file), str(out)]
        environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stderr

    loaded: dict[str, Any] = torch.load(once(tmp_path_factory, "interpreted", interpret) / "found.pt")
    return loaded


def expected(case: Case) -> dict[str, Tensor]:
    """Joined tokens and gradients of the formula, in float64."""
    given = case.inputs(torch.float64)
    joined = formula(*given, case.keep, case.eps)
    joined.backward(case.gradient().to(dtype_of(case)).double())
    named = zip(("tokens", "update", "scale"), given, strict=True)
    slopes = {name: value.grad for name, value in named if isinstance(value, Tensor) and value.grad is not None}
    return {"joined": joined.detach(), **slopes}


def dtype_of(case: Case) -> torch.dtype:
    """The dtype of the joined tokens, which is that of the formula."""
    return formula(*case.inputs(), case.keep, case.eps).dtype


def compare(results: dict[str, Tensor], case: Case) -> None:
    dtypes = {"joined": dtype_of(case), "tokens": case.tokens, "update": case.update, "scale": torch.float32}
    right = expected(case)
    assert results.keys() == right.keys()
    for name, value in results.items():
        assert value.dtype == dtypes[name]
        assert value.shape == right[name].shape
        assert_close(value.double(), right[name], rtol=ROUNDING[value.dtype])


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_formula(name: str, found: dict[str, Any]) -> None:
    compare(found["cases"][name], CASES[name])


def test_every_case_went_through_both_kernels(found: dict[str, Any]) -> None:
    twice = found["compiled"] is not None  # one of them, compiled
    assert found["launches of cases"] == 2 * (len(CASES) + twice)


def test_the_kernels_are_tried_before_they_are_trusted(found: dict[str, Any]) -> None:
    assert found["launches of the trial"] == 2
    assert found["why_not"] is None


def test_float64_is_left_to_torch(found: dict[str, Any]) -> None:
    assert found["launches in float64"] == 0


def test_torch_compiles_it_whole(found: dict[str, Any]) -> None:
    if found["compiled"] is None:
        pytest.skip(UNREAD)
    compare(found["compiled"], CASES["a learned scale"])


def test_autocast_leaves_it_alone(found: dict[str, Any]) -> None:
    compare(found["autocast"], CASES["bfloat16"])


def test_a_run_trains_with_it_as_without(found: dict[str, Any]) -> None:
    assert found["launches, on"] > 0 == found["launches, off"]
    on, off = found["training, on"], found["training, off"]
    assert len(off["losses"]) == 4 and min(off["gradient norms"]) > 0
    for name, values in off.items():
        assert_close(on[name], values, rtol=1e-4)
