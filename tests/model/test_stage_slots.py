"""The boundary between the engine and a stage: a stage's own fault is named there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from aaclip_kit import AttentionStage, Context, UserError
from aaclip_kit.model.stage_slots import NO_CONTEXT, StageSlots


class Cutting(AttentionStage):
    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens[:, 1:]


class Raising(AttentionStage):
    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return tokens.nope  # type: ignore[attr-defined]


class Doubling(AttentionStage):
    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        return 2 * tokens


def with_stage(stage: AttentionStage) -> StageSlots:
    slots = StageSlots()
    slots.place("mine", "vision", 1, stage)
    return slots


@pytest.mark.parametrize(
    ("stage", "says"),
    [(Cutting(), r"returned \(2, 4, 3\) for tokens of shape \(2, 5, 3\)"), (Raising(), "raised AttributeError.*nope")],
)
def test_a_faulty_stage_is_named_with_its_class_and_block(stage: AttentionStage, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        with_stage(stage).apply_after("vision", 1, torch.ones(2, 5, 3), NO_CONTEXT)
    assert caught.value.where is not None
    assert caught.value.where.startswith("stages.mine after block 1 ")
    assert type(stage).__qualname__ in caught.value.where


def test_a_sound_stage_acts_at_its_own_site_only() -> None:
    slots, tokens = with_stage(Doubling()), torch.ones(2, 5, 3)
    assert torch.equal(slots.apply_after("vision", 1, tokens, NO_CONTEXT), 2 * tokens)
    assert torch.equal(slots.apply_after("vision", 0, tokens, NO_CONTEXT), tokens)
    assert torch.equal(slots.apply_after("text", 1, tokens, NO_CONTEXT), tokens)
