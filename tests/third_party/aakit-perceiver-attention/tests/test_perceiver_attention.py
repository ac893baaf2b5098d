"""The contract of an attention stage in both towers, and what the latents hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from aakit_perceiver_attention import PerceiverAttentionOptions
from aakit_perceiver_attention.stage import PerceiverAttention, perceiver_attention

from aaclip_kit import Context, StageSetting
from aaclip_kit.testing import conformance


@conformance("attention-stage", "perceiver_attention", options={"tower": "vision", "after": [0]})
def test_in_the_vision_tower(check: Callable[[], None]) -> None:
    check()


@conformance("attention-stage", "perceiver_attention", options={"tower": "text", "after": [0], "latents": 3})
def test_in_the_text_tower(check: Callable[[], None]) -> None:
    check()


@pytest.fixture
def stage() -> PerceiverAttention:
    torch.manual_seed(0)
    options = PerceiverAttentionOptions(tower="vision", after=(0,), heads=2, latents=3)
    return perceiver_attention(
        options, StageSetting(tower="vision", after=0, width=12, text_width=8, vision_width=12, image_context_width=6)
    ).eval()


def test_a_context_of_any_length_becomes_the_same_few_latents(stage: PerceiverAttention) -> None:
    for length in (1, 4, 50):
        compressed = stage.compressed(Context(torch.randn(2, length, 8)))
        assert compressed.tokens.shape == (2, 3, 8)
        assert compressed.mask is None


def test_the_latents_read_what_the_mask_lets_them(stage: PerceiverAttention) -> None:
    context = torch.randn(1, 7, 8)
    masked = stage.compressed(Context(context, torch.arange(7)[None] < 4)).tokens
    torch.testing.assert_close(masked, stage.compressed(Context(context[:, :4])).tokens)
    assert not torch.allclose(masked, stage.compressed(Context(context)).tokens)


def test_tokens_see_the_context_through_the_latents_alone(stage: PerceiverAttention) -> None:
    tokens, context = torch.randn(4, 5, 12), Context(torch.randn(2, 7, 8))
    update = stage.look(tokens, stage.compressed(context).expanded(4))
    share = 0.1 * tokens.norm(dim=-1, keepdim=True) / update.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(stage(tokens, context), tokens + share * update)


def test_the_latents_differ_from_one_another_and_so_does_what_they_read(stage: PerceiverAttention) -> None:
    first, second, third = stage.compressed(Context(torch.randn(1, 7, 8))).tokens[0]
    for one, other in ((first, second), (second, third), (first, third)):
        assert torch.linalg.vector_norm(one - other) > 0.01 * torch.linalg.vector_norm(one)
