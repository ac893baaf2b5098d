"""No golden is passed over, and the comparison itself can fail."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from .goldens import Goldens
from .keys import COVERED, DIGEST, group_of, scale_key

GROUP = group_of("published/frozen/level6")


def digest(name: str, values: np.ndarray) -> np.ndarray:
    flat = np.asarray(values, np.float64).ravel()
    return np.array([np.linalg.norm(flat), flat.sum(), flat @ np.cos(len(name) + np.arange(flat.size))])


def goldens_with(**arrays: np.ndarray | float) -> Goldens:
    named = {key.replace("__", "/"): np.asarray(value) for key, value in arrays.items()}
    return Goldens(named, {}, SimpleNamespace(digest=digest))


def whole() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, 5, 16)).astype(np.float32)


@pytest.fixture
def sliced() -> Goldens:
    """One golden, stored as every 8th channel with a digest."""
    key, array = "published/frozen/level6", whole()
    return goldens_with(published__frozen__level6=array[..., ::8], published__frozen__level6__digest=digest(key, array))


def test_every_key_is_claimed_by_a_test(goldens: Goldens) -> None:
    unclaimed = [key for key in goldens.arrays if group_of(key).test is None]
    assert goldens.arrays and not unclaimed, f"compared by no test: {', '.join(unclaimed)}"


@pytest.mark.slow
def test_every_key_was_compared(goldens: Goldens, compared: set[str]) -> None:
    passed_over = [key for key in goldens.arrays if key not in compared]
    assert not passed_over, f"compared by no test: {', '.join(passed_over)}"


def test_every_test_that_claims_goldens_exists() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    bodies = [ast.parse(file.read_text(encoding="utf-8")).body for file in files]
    assert COVERED.keys() <= {node.name for body in bodies for node in body if isinstance(node, ast.FunctionDef)}


def test_a_key_that_nobody_knows_is_claimed_by_no_test() -> None:
    assert [group_of(key).test for key in ("published/frozen_twice/level6", "odd/frozen", "odd")] == [None] * 3


def test_equal_values_pass_and_are_noted_with_their_digest(sliced: Goldens) -> None:
    sliced.compare(GROUP, {"level6": whole()})
    assert sliced.worst == dict.fromkeys(sliced.arrays, 0.0)


@pytest.mark.parametrize("channel", [0, 3])
def test_a_difference_is_found_in_stored_channels_and_in_the_others(sliced: Goldens, channel: int) -> None:
    other = whole()
    other[1, 2, channel] += 0.1
    with pytest.raises(AssertionError, match="level6" + ("" if channel % 8 == 0 else DIGEST)):
        sliced.compare(GROUP, {"level6": other})
    assert sliced.worst.keys() == sliced.arrays.keys()


def test_values_that_are_no_numbers_or_of_another_shape_or_absent_fail(sliced: Goldens) -> None:
    with pytest.raises(AssertionError, match="differs by nan"):
        sliced.compare(GROUP, {"level6": np.full_like(whole(), np.nan)})
    with pytest.raises(AssertionError, match="shape"):
        sliced.compare(GROUP, {"level6": whole()[:1]})
    with pytest.raises(AssertionError, match="nothing was computed"):
        sliced.compare(GROUP, {"level12": whole()})


def test_each_number_of_a_list_has_its_own_scale() -> None:
    stored = goldens_with(published__stage1__loss=np.array([1000.0, 1.0]))
    group = group_of("published/stage1/loss")
    stored.compare(group, {"loss": [1000.05, 1.00005]})
    with pytest.raises(AssertionError, match="allowed are 1e-04"):
        stored.compare(group, {"loss": [1000.0, 1.001]})


def test_gradients_are_held_by_their_digest_and_zero_ones_by_their_neighbours() -> None:
    weight, bias = "published/stage1/grad/a.k_proj.weight", "published/stage1/grad/a.k_proj.bias"
    stored = Goldens(
        {weight: digest("a.k_proj.weight", whole()), bias: np.full(3, 1e-9)}, {}, SimpleNamespace(digest=digest)
    )
    assert scale_key(bias) == weight
    group = group_of(weight)
    stored.compare(group, {"grad/a.k_proj.weight": whole(), "grad/a.k_proj.bias": np.full(4, -1e-9)})
    for name in ("weight", "bias"):
        wrong = {"grad/a.k_proj.weight": whole(), "grad/a.k_proj.bias": np.zeros(4)}
        wrong[f"grad/a.k_proj.{name}"] = wrong[f"grad/a.k_proj.{name}"] + 0.1
        with pytest.raises(AssertionError, match=f"k_proj.{name}: differs"):
            stored.compare(group, wrong)
