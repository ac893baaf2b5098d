"""The nearest stored vectors in blocks, against all pairs at once; and vectors that stand for many."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from aaclip_kit import nearest, spread_out
from aaclip_kit.kernels import nearest as room

from ..helpers import assert_close


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def naive(queries: Tensor, stored: Tensor, neighbours: int) -> Tensor:
    distances = 1 - cosine_similarity(queries[:, None], stored[None], dim=2)
    return distances.topk(min(neighbours, len(stored)), dim=1, largest=False).values.mean(dim=1)


@pytest.mark.parametrize("neighbours", [1, 3, 50])
@pytest.mark.parametrize("pairs", [7, 64, 2**21])
def test_blocks_of_any_size_give_what_all_pairs_give(
    neighbours: int, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries, stored = noise(37, 6), 3 * noise(29, 6, seed=1)
    monkeypatch.setattr(room, "_PAIRS", {"cpu": pairs})
    monkeypatch.setattr(room, "_ROWS", 8)
    assert_close(nearest(queries, stored, neighbours), naive(queries, stored, neighbours))


def test_a_stored_vector_is_at_distance_zero_and_never_below() -> None:
    stored = noise(500, 64)
    found = nearest(stored, stored)
    assert_close(found, torch.zeros(500))
    assert (found >= 0).all()


def test_a_vector_of_length_zero_is_at_distance_one() -> None:
    assert nearest(torch.zeros(1, 4), noise(5, 4)).item() == 1.0


def test_distances_are_in_float32_under_autocast() -> None:
    queries, stored = noise(9, 64), noise(9, 64, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest(queries.bfloat16(), stored.bfloat16())
    assert found.dtype == torch.float32
    assert_close(found, nearest(queries.bfloat16().float(), stored.bfloat16().float()))


def test_each_chosen_vector_is_the_farthest_from_those_before() -> None:
    vectors = noise(40, 5)
    for count in (1, 2, 7, 39):
        chosen = spread_out(vectors, count, seed=3)
        assert len(set(chosen.tolist())) == count and chosen.tolist() == sorted(chosen.tolist())
        more = set(spread_out(vectors, count + 1, seed=3).tolist())
        (added,) = more - set(chosen.tolist())
        others = torch.tensor(sorted(set(range(40)) - set(chosen.tolist())))
        far = naive(vectors[others], vectors[chosen], 1)
        assert others[far.argmax()] == added


def test_the_choice_does_not_depend_on_the_order() -> None:
    vectors, order = noise(30, 4), torch.randperm(30, generator=torch.Generator().manual_seed(1))
    chosen = {tuple(row) for row in vectors[spread_out(vectors, 6)].tolist()}
    assert {tuple(row) for row in vectors[order][spread_out(vectors[order], 6)].tolist()} == chosen


def test_the_seed_moves_the_choice() -> None:
    vectors = noise(200, 8)
    assert len({tuple(spread_out(vectors, 5, seed).tolist()) for seed in range(8)}) > 1


def test_of_equal_vectors_each_is_taken_once() -> None:
    assert spread_out(torch.ones(6, 3), 4).unique().numel() == 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_device_gives_what_a_cpu_gives() -> None:
    queries, stored = noise(300, 32), noise(5000, 32, seed=1)
    assert_close(nearest(queries.cuda(), stored.cuda(), 3).cpu(), nearest(queries, stored, 3), 1e-3, 1e-3)
