"""The contract of an attention stage in both towers, and what a gate does."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from aakit_gated_attention import GatedAttentionOptions
from aakit_gated_attention.stage import GatedAttention, gated_attention

from aaclip_kit import Context, StageSetting
from aaclip_kit.testing import conformance


@conformance("attention-stage", "gated_attention", options={"tower": "vision", "after": [0]})
def test_in_the_vision_tower(check: Callable[[], None]) -> None:
    check()


@conformance("attention-stage", "gated_attention", options={"tower": "text", "after": [0]})
def test_in_the_text_tower(check: Callable[[], None]) -> None:
    check()


def stage(gate: float) -> GatedAttention:
    torch.manual_seed(0)
    options = GatedAttentionOptions(tower="vision", after=(0,), heads=2, gate=gate)
    return gated_attention(
        options, StageSetting(tower="vision", after=0, width=12, text_width=8, vision_width=12, image_context_width=6)
    ).eval()


@pytest.mark.parametrize("gate", [0.1, -0.7, 3.0])
def test_the_update_measures_the_tanh_of_the_gate_in_norms_of_its_token(gate: float) -> None:
    tokens = torch.randn(3, 5, 12)
    update = stage(gate)(tokens, Context(torch.randn(3, 4, 8))) - tokens
    share = update.norm(dim=-1) / tokens.norm(dim=-1)
    torch.testing.assert_close(share, torch.full((3, 5), abs(math.tanh(gate))), rtol=1e-4, atol=0.0)


def test_a_closed_gate_changes_nothing_and_can_open() -> None:
    closed = stage(0.0)
    tokens, context = torch.randn(3, 5, 12), Context(torch.randn(3, 4, 8))
    out = closed(tokens, context)
    assert torch.equal(out, tokens)
    (out * torch.randn(3, 5, 12)).sum().backward()
    assert closed.gate.grad is not None and closed.gate.grad != 0
