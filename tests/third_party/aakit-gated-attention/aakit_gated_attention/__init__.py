"""Gated cross-attention: how much of the context the tokens take up is learnt, beginning with what the file says."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from aaclip_kit import Register, StageOptions, hookimpl


class GatedAttentionOptions(StageOptions):
    """Vision tokens attend to the prompts of their class, through a learnt gate (Flamingo, arXiv 2204.14198)."""

    tower: Literal["vision"] = Field("vision", description="the tower whose tokens the stage changes")
    heads: int = Field(2, ge=1, description="attention heads; must divide the text width")
    gate: float = Field(0.5, ge=-3, le=3, description="the gate's first value; its tanh is the share that is taken up")


@hookimpl
def register_attention_stages(register: Register) -> None:
    """Offer `gated_attention`."""
    register("gated_attention", f"{__name__}.stage:GatedAttention", GatedAttentionOptions)
