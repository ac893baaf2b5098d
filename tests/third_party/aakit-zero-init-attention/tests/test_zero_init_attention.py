"""The contract of an attention stage in both towers, and how the stage begins and grows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from aakit_zero_init_attention import ZeroInitAttentionOptions
from aakit_zero_init_attention.stage import ZeroInitAttention, zero_init_attention
from torch import nn

from aaclip_kit import Context, StageSetting
from aaclip_kit.testing import conformance


@conformance("attention-stage", "zero_init_attention", options={"tower": "vision", "after": [0]})
def test_in_the_vision_tower(check: Callable[[], None]) -> None:
    check()


@conformance("attention-stage", "zero_init_attention", options={"tower": "text", "after": [0]})
def test_in_the_text_tower(check: Callable[[], None]) -> None:
    check()


@pytest.fixture
def stage() -> ZeroInitAttention:
    torch.manual_seed(0)
    options = ZeroInitAttentionOptions(tower="vision", after=(0,), heads=2, scale=0.5)
    return zero_init_attention(
        options, StageSetting(tower="vision", after=0, width=12, text_width=8, vision_width=12, image_context_width=6)
    )


def test_at_first_tokens_and_their_gradient_pass_unchanged(stage: ZeroInitAttention) -> None:
    tokens = torch.randn(3, 5, 12, requires_grad=True)
    out = stage(tokens, Context(torch.randn(3, 4, 8)))
    assert torch.equal(out, tokens)
    wanted = torch.randn(3, 5, 12)
    out.backward(wanted)
    assert tokens.grad is not None and torch.equal(tokens.grad, wanted)


def test_the_output_projection_moves_first_and_the_rest_follows(stage: ZeroInitAttention) -> None:
    tokens, context, target = torch.randn(3, 5, 12), Context(torch.randn(3, 4, 8)), torch.randn(3, 5, 12)
    optimizer = torch.optim.Adam(stage.parameters(), lr=0.01)
    losses, moved = [], []
    for _ in range(50):
        loss = (stage(tokens, context) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        moved.append(torch.linalg.vector_norm(stage.value.weight.grad).item())
    assert moved[0] == 0 < moved[1]
    assert losses[-1] < 0.9 * losses[0]


def test_the_update_is_plain_where_small_and_norm_matched_where_large(stage: ZeroInitAttention) -> None:
    tokens, context = torch.randn(3, 5, 12), Context(torch.randn(3, 4, 8))
    stage.eval()
    norms = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
    nn.init.zeros_(stage.out.weight)
    for size, expected in ((1e-3, 1e-3), (1e4, 1.0)):
        with torch.no_grad():
            stage.out.bias.copy_(size * torch.eye(12)[0])
        update = stage(tokens, context) - tokens
        torch.testing.assert_close(update, 0.5 * expected * norms * torch.eye(12)[0], rtol=1e-3, atol=1e-6)
