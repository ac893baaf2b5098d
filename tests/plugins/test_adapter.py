from __future__ import annotations

import math

import pytest
import torch
from aaclip_kit_plugins.adapter import ResidualAdapterOptions, register_attention_stages
from aaclip_kit_plugins.adapter.residual import ResidualAdapter
from pydantic import ValidationError

from aaclip_kit import Context, StageSetting

from ..helpers import assert_close, gradient_of
from .registered import registered

WIDTH = 16


def adapter(weight: float = 0.1) -> ResidualAdapter:
    torch.manual_seed(0)
    factory, options = registered(register_attention_stages)["residual_adapter"]
    setting = StageSetting(tower="text", after=0, width=WIDTH, text_width=WIDTH, vision_width=24, image_context_width=8)
    return factory(options(tower="text", after=[0], weight=weight), setting)


def tokens() -> torch.Tensor:
    return torch.randn(3, 5, WIDTH, generator=torch.Generator().manual_seed(1))


def test_equals_the_formula_token_by_token() -> None:
    stage, x = adapter(0.3), tokens()
    out = stage(x, None)
    for item in range(3):
        for place in range(5):
            token = x[item, place]
            raw = stage.linear.weight @ token
            update = torch.where(raw > 0, raw, 0.01 * raw)
            expected = 0.7 * token + 0.3 * update * token.norm() / update.norm()
            assert_close(out[item, place], expected)


def test_weight_zero_keeps_the_tokens_and_weight_one_replaces_them() -> None:
    x = tokens()
    assert_close(adapter(0.0)(x, None), x)
    replaced = adapter(1.0)(x, None)
    assert_close(replaced.norm(dim=-1), x.norm(dim=-1))
    assert (replaced - x).abs().max() > 0.1


def test_an_output_of_zero_gives_no_nan() -> None:
    stage, x = adapter(), tokens().requires_grad_()
    with torch.no_grad():
        stage.linear.weight.zero_()
    out = stage(x, None)
    out.square().sum().backward()
    assert_close(out, 0.9 * x.detach())
    assert torch.isfinite(gradient_of(x)).all()
    assert torch.isfinite(stage.linear.weight.grad).all()


def test_small_outputs_are_matched_as_exactly_as_large_ones() -> None:
    stage, x = adapter(), tokens()
    expected = stage(x, None)
    with torch.no_grad():
        stage.linear.weight.mul_(2**-10)
    assert_close(stage(x, None), expected)


def test_starts_xavier_uniform_without_bias() -> None:
    stage = adapter()
    limit = math.sqrt(6 / (2 * WIDTH))
    assert [name for name, _ in stage.named_parameters()] == ["linear.weight"]
    assert 0.9 * limit < stage.linear.weight.abs().max() <= limit


def test_a_weight_outside_0_to_1_and_a_missing_site_are_refused() -> None:
    for bad in ({"weight": 1.5}, {"weight": -0.1}):
        with pytest.raises(ValidationError):
            ResidualAdapterOptions(tower="text", after=[0], **bad)
    with pytest.raises(ValidationError, match="after"):
        ResidualAdapterOptions(tower="text")


def test_takes_no_context() -> None:
    assert ResidualAdapter.context_kind == "none"
    with pytest.raises(ValueError, match="no context"):
        adapter()(tokens(), Context(torch.zeros(1, 2, 3)))
