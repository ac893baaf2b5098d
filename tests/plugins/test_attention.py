from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.attention import ImageToTextOptions, TextToImageOptions, register_attention_stages
from aaclip_kit_plugins.attention.cross_attention import CrossAttention, ImageToText, TextToImage
from pydantic import ValidationError
from torch import Tensor

from aaclip_kit import Context, StageSetting, UserError, norm_matched_residual

from ..helpers import assert_close, gradient_of
from .registered import registered

TEXT, VISION, EMBEDDING = 12, 20, 8


def stage_of(kind: str = "text_to_image", **options: Any) -> CrossAttention:
    torch.manual_seed(0)
    options = {"heads": 3, **options}
    text = kind == "text_to_image"
    setting = StageSetting(
        tower="text" if text else "vision",
        after=0,
        width=TEXT if text else VISION,
        text_width=TEXT,
        vision_width=VISION,
        image_context_width=EMBEDDING,
    )
    factory, model = registered(register_attention_stages)[kind]
    stage = factory(model(**options), setting).eval()
    with torch.no_grad():
        for name, parameter in stage.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return stage


def inputs(stage: CrossAttention, items: int = 4, rows: int = 2, masked: bool = True) -> tuple[Tensor, Context]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(items, 5, stage.q_proj.in_features, generator=generator)
    context = torch.randn(rows, 7, stage.k_proj.in_features, generator=generator)
    mask = torch.rand(rows, 7, generator=generator) > 0.4
    mask[:, 0] = True
    return tokens, Context(context, mask if masked else None)


def naive(stage: CrossAttention, tokens: Tensor, context: Context) -> Tensor:
    """Explicit softmax, one item and one head at a time, on a context that is copied for each item."""
    full = context.expanded(len(tokens))
    width = TEXT // stage.heads
    updates = []
    for item in range(len(tokens)):
        q, k, v = stage.q_proj(tokens[item]), stage.k_proj(full.tokens[item]), stage.v_proj(full.tokens[item])
        heads = []
        for head in range(stage.heads):
            part = slice(head * width, (head + 1) * width)
            scores = q[:, part] @ k[:, part].T / math.sqrt(width)
            if full.mask is not None:
                scores = scores.masked_fill(~full.mask[item], -math.inf)
            heads.append(scores.softmax(-1) @ v[:, part])
        updates.append(stage.out_proj(torch.cat(heads, -1)))
    return torch.stack(updates)


@pytest.mark.parametrize("kind", ["text_to_image", "image_to_text"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_equals_the_naive_formula(kind: str, masked: bool, rows: int) -> None:
    stage = stage_of(kind)
    tokens, context = inputs(stage, rows=rows, masked=masked)
    update = naive(stage, tokens, context)
    expected = tokens + 0.1 * update * tokens.norm(dim=-1, keepdim=True) / (update.norm(dim=-1, keepdim=True) + 1e-6)
    assert_close(stage(tokens, context), expected)


def test_gradients_equal_those_of_the_naive_formula() -> None:
    stage = stage_of()
    tokens, context = inputs(stage)
    stage(tokens, context).square().sum().backward()
    fast = {name: parameter.grad for name, parameter in stage.named_parameters()}
    stage.zero_grad()
    norm_matched_residual(tokens, naive(stage, tokens, context), 0.1).square().sum().backward()
    for name, parameter in stage.named_parameters():
        assert_close(fast[name], parameter.grad, rtol=1e-4, atol=1e-5)
        # A bias of the keys moves all scores of a query alike, so its gradient is zero by construction.
        assert name == "k_proj.bias" or parameter.grad.abs().max() > 1e-4, name


def test_an_item_depends_on_its_own_row_only() -> None:
    stage = stage_of()
    tokens, context = inputs(stage)
    assert context.mask is not None
    together = stage(tokens, context)
    for item in range(4):
        row = slice(item // 2, item // 2 + 1)
        alone = stage(tokens[item : item + 1], Context(context.tokens[row], context.mask[row]))
        assert_close(together[item : item + 1], alone)


def test_masked_tokens_are_never_seen() -> None:
    stage = stage_of()
    tokens, context = inputs(stage)
    assert context.mask is not None
    context.tokens.requires_grad_()
    stage(tokens, context).square().sum().backward()
    slopes = gradient_of(context.tokens)
    assert slopes[~context.mask].abs().max() == 0
    assert slopes[context.mask].abs().min() > 0


def test_the_output_is_scaled_to_each_tokens_norm() -> None:
    stage = stage_of(scale=0.3)
    tokens, context = inputs(stage)
    added = stage(tokens, context) - tokens
    assert_close(added.norm(dim=-1), 0.3 * tokens.norm(dim=-1))


def test_without_norm_matching_the_output_is_added_as_it_is() -> None:
    stage = stage_of(norm_matched=False, scale=2.0)
    tokens, context = inputs(stage)
    assert_close(stage(tokens, context), tokens + 2 * naive(stage, tokens, context))


def test_scale_zero_changes_nothing() -> None:
    stage = stage_of(scale=0.0)
    tokens, context = inputs(stage)
    assert torch.equal(stage(tokens, context), tokens)


@pytest.mark.parametrize("kind", ["text_to_image", "image_to_text"])
@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_dropout_takes_away_the_share_that_the_option_says_and_in_training_only(kind: str, rate: float) -> None:
    """One token of context has the whole weight: what is left of it shows, head by head, as 1 / (1 - rate) or 0."""
    stage = stage_of(kind, dropout=rate, norm_matched=False, scale=1.0)
    with torch.no_grad():
        stage.out_proj.weight.copy_(torch.eye(*stage.out_proj.weight.shape))
        stage.out_proj.bias.zero_()
    tokens = torch.randn(500, 5, stage.q_proj.in_features)
    context = Context(torch.randn(1, 1, stage.k_proj.in_features))
    value = stage.v_proj(context.tokens[0, 0])
    assert_close(stage.attend(tokens, context)[..., :TEXT], value.expand(500, 5, TEXT))
    left = stage.train().attend(tokens, context)[..., :TEXT] / value
    kept = left != 0
    assert_close(left[kept], torch.full_like(left[kept], 1 / (1 - rate)))
    # 7,500 draws: the share's standard error is 0.0035 and 0.0057.
    assert abs(1 - float(kept.float().mean()) - rate) < 0.02


def test_weights_start_xavier_uniform_and_biases_zero() -> None:
    setting = StageSetting(
        tower="vision", after=0, width=VISION, text_width=TEXT, vision_width=VISION, image_context_width=EMBEDDING
    )
    stage = ImageToText(ImageToTextOptions(heads=3), setting)
    shapes = {"q_proj": (VISION, TEXT), "k_proj": (TEXT, TEXT), "v_proj": (TEXT, TEXT), "out_proj": (TEXT, VISION)}
    for name, (inputs_, outputs) in shapes.items():
        layer = stage.get_submodule(name)
        limit = math.sqrt(6 / (inputs_ + outputs))
        assert layer.weight.shape == (outputs, inputs_)
        assert 0.9 * limit < layer.weight.abs().max() <= limit
        assert layer.bias.abs().max() == 0


def test_sites_and_contexts() -> None:
    assert TextToImageOptions().model_dump() | {"heads": 8} == {
        **{"tower": "text", "after": (0,), "heads": 8, "scale": 0.1, "dropout": 0.1, "norm_matched": True}
    }
    assert ImageToTextOptions().tower == "vision"
    assert (TextToImage.context_kind, ImageToText.context_kind) == ("image", "text")
    assert stage_of().k_proj.in_features == EMBEDDING
    assert stage_of("image_to_text").k_proj.in_features == TEXT


@pytest.mark.parametrize("bad", [{"scale": 11.0}, {"scale": -1.0}, {"dropout": 1.0}, {"heads": 0}, {"tower": "vision"}])
def test_options_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TextToImageOptions(**bad)


def test_heads_must_divide_the_text_width() -> None:
    with pytest.raises(UserError, match="5 heads do not divide the text width 12"):
        stage_of(heads=5)


def test_what_only_a_program_can_get_wrong() -> None:
    stage = stage_of()
    tokens, context = inputs(stage, items=3, rows=2)
    with pytest.raises(ValueError, match="3 items cannot share 2"):
        stage(tokens, context)
    with pytest.raises(ValueError, match="needs a context"):
        stage(tokens, None)


@pytest.mark.parametrize("kind", ["text_to_image", "image_to_text"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 4])
def test_the_weights_that_it_shows_are_those_that_it_uses(kind: str, masked: bool, rows: int) -> None:
    """Weighting the values with them gives the attention's own output."""
    stage = stage_of(kind)
    tokens, context = inputs(stage, rows=rows, masked=masked)
    weights = stage.attention_weights(tokens, context)
    full = context.expanded(len(tokens))
    assert weights.shape == (4, 3, 5, 7)
    assert_close(weights.sum(dim=-1), torch.ones(4, 3, 5))
    assert full.mask is None or weights.masked_select(~full.mask[:, None, None]).abs().sum() == 0
    values = stage.v_proj(full.tokens).unflatten(-1, (3, -1)).transpose(1, 2)
    assert_close(stage.out_proj((weights @ values).transpose(1, 2).flatten(2)), stage.attend(tokens, context))


def test_dropout_is_not_among_the_weights_that_it_shows() -> None:
    stage = stage_of(dropout=0.5)
    tokens, context = inputs(stage)
    resting = stage.attention_weights(tokens, context)
    assert torch.equal(stage.train().attention_weights(tokens, context), resting)


@pytest.mark.slow
@pytest.mark.parametrize("expanded", [False, True])
def test_gradients_of_rows_that_items_share_are_the_same_every_time_with_several_threads(expanded: bool) -> None:
    torch.manual_seed(0)
    stage = ImageToText(
        ImageToTextOptions(heads=8, dropout=0.0),
        StageSetting(tower="vision", after=0, width=128, text_width=64, vision_width=128, image_context_width=96),
    )
    tokens, seen = torch.randn(8, 20, 128), torch.randn(4, 160, 64, requires_grad=True)
    context = Context(seen, row_of=torch.tensor([0, 1, 0, 2, 3, 0, 1, 0]))

    def gradients() -> tuple[Tensor, ...]:
        changed = stage(tokens, context.expanded(8) if expanded else context)
        return torch.autograd.grad(changed.square().sum(), [seen, stage.k_proj.weight, stage.v_proj.weight])

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = gradients()
        again = [gradients() for _ in range(40)]
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for found in again for one, other in zip(first, found, strict=True))
