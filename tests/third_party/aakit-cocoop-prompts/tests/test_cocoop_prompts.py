"""The contract of prompts, with the image and without, and where learnt tokens and shift go."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import torch
from aakit_cocoop_prompts import CocoopOptions
from aakit_cocoop_prompts.prompts import Cocoop

from aaclip_kit import PromptSetting
from aaclip_kit.testing import conformance

BACKBONE = SimpleNamespace(
    text=SimpleNamespace(width=6),
    embedding_width=5,
    embed_text=lambda tokens: torch.ones(*tokens.shape, 6),
    text_positions=lambda length: torch.zeros(length, 6),
)


@conformance("prompts", "cocoop")
def test_with_the_image(check: Callable[[], None]) -> None:
    check()


@conformance("prompts", "cocoop", options={"image_shift": False, "tokens": 2})
def test_without_the_image(check: Callable[[], None]) -> None:
    check()


def cocoop(**options: object) -> Cocoop:
    setting = PromptSetting(backbone=BACKBONE, drawn=lambda *names: nullcontext())  # type: ignore[arg-type]
    return Cocoop(CocoopOptions(tokens=3, **options), setting)  # type: ignore[arg-type]


def test_both_states_have_the_same_learnt_tokens_in_the_place_of_the_place_holders() -> None:
    prompts = cocoop()
    assert prompts.prompts("nut") == ["X X X nut.", "X X X damaged nut."]
    embedded = prompts.embed(BACKBONE, torch.zeros(4, 8, dtype=torch.long))  # type: ignore[arg-type]
    assert torch.equal(embedded[:, 1:4], prompts.context.expand(4, -1, -1))
    assert (embedded[:, 0] == 1).all() and (embedded[:, 4:] == 1).all()


def test_an_image_adds_one_vector_to_every_learnt_token_and_none_at_first() -> None:
    prompts, tokens, images = cocoop(), torch.randn(2, 8, 6), torch.randn(2, 5)
    assert torch.equal(prompts.before_block(0, tokens, images), tokens)
    last = prompts.meta[2]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.ones_(last.bias)
    shift = prompts.before_block(0, tokens, images) - tokens
    torch.testing.assert_close(shift[:, 1:4], torch.ones(2, 3, 6))
    assert not shift[:, 0].any() and not shift[:, 4:].any()
    assert prompts.before_block(0, tokens, None) is tokens
    assert prompts.before_block(1, tokens, images) is tokens


def test_without_the_shift_text_features_are_a_class_s_alone() -> None:
    prompts = cocoop(image_shift=False)
    assert prompts.conditioned_from is None
    assert [name for name, _ in prompts.named_parameters()] == ["context"]
