from __future__ import annotations

import pytest
import torch
from aaclip_kit_plugins.attention.cross_attention import attend
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from ..helpers import assert_close


def inputs(rows: int = 3, length: int = 7, seen: int = 11, width: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (length, seen, seen)
    queries, keys, values = (torch.randn(rows, 2, n, width, generator=generator, requires_grad=True) for n in sizes)
    return queries, keys, values


def weights_with(dropout: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Weights of 48 keys after dropout, and before."""
    queries, keys, _ = inputs(rows=4, length=500, seen=48, width=48)
    torch.manual_seed(seed)
    each = torch.eye(48).expand(4, 2, 48, 48)  # its output is the weights themselves
    before = (queries @ keys.transpose(-2, -1) / 48**0.5).softmax(dim=-1)
    return attend(queries, keys, each, dropout=dropout).detach(), before.detach()


@pytest.mark.parametrize("masked", [False, True])
def test_where_no_weight_is_dropped_it_is_the_fused_attention_with_its_gradients(masked: bool) -> None:
    given, mask = inputs(), None
    if masked:
        mask = torch.ones(3, 11, dtype=torch.bool)
        mask[0, 5:] = mask[2, :10] = False
    found = attend(*given, mask, dropout=1e-9)
    expected = scaled_dot_product_attention(*given, attn_mask=None if mask is None else mask[:, None, None])
    assert_close(found, expected)
    slope = torch.randn_like(found)
    for one, other in zip(
        torch.autograd.grad(found, given, slope), torch.autograd.grad(expected, given, slope), strict=True
    ):
        assert_close(one, other)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_each_weight_is_dropped_or_scaled_up(dropout: float) -> None:
    found, before = weights_with(dropout)
    kept = found != 0
    assert_close(found[kept], before[kept] / (1 - dropout), rtol=1e-4, atol=0)
    count = kept.numel()
    assert abs(kept.float().mean() - (1 - dropout)) < 4 * (dropout * (1 - dropout) / count) ** 0.5


def test_what_is_dropped_says_nothing_of_its_neighbours() -> None:
    dropped = (weights_with(0.25)[0] == 0).flatten().float()
    for apart in (1, 2, 3, 4, 48):
        together = (dropped[apart:] * dropped[:-apart]).mean()
        assert abs(together - 1 / 16) < 5 * (1 / 16 * 15 / 16 / len(dropped)) ** 0.5


def test_the_seed_decides() -> None:
    assert torch.equal(weights_with(0.3)[0], weights_with(0.3)[0])
    assert not torch.equal(weights_with(0.3)[0], weights_with(0.3, seed=1)[0])


def test_gradients_are_those_of_the_weights_that_are_kept() -> None:
    given = inputs()
    exact = tuple(part.detach().double().requires_grad_() for part in given)
    torch.manual_seed(5)
    attended = attend(*exact, dropout=0.4)
    for place, part in enumerate(exact):
        step = torch.randn_like(part)
        moved = []
        for sign in (1, -1):
            torch.manual_seed(5)
            moved.append(
                attend(*(p + sign * 1e-6 * step if at == place else p for at, p in enumerate(exact)), dropout=0.4)
            )
        (slope,) = torch.autograd.grad(attended.square().sum(), part, retain_graph=True)
        measured = (moved[0].square().sum() - moved[1].square().sum()) / 2e-6
        assert_close((slope * step).sum(), measured, rtol=1e-6, atol=1e-8)


def test_even_dropout_next_to_one_gives_numbers() -> None:
    assert weights_with(0.999999)[0].isfinite().all()
