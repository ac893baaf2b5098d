"""Gated cross-attention: how much of the context the tokens take up is learnt, beginning with what the file says."""

from __future__ import annotations

from pydantic import Field

from aaclip_kit import Register, StageOptions, hookimpl

AAKIT_API = "2.0"


class GatedAttentionOptions(StageOptions):
    """Cross-attention over the other modality through a learnt gate (Flamingo, arXiv 2204.14198)."""

    heads: int = Field(8, ge=1, description="attention heads; must divide the text width")
    gate: float = Field(0.1, ge=-3, le=3, description="the gate's first value; its tanh is the share that is taken up")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the attention weights, in training only")


@hookimpl
def register_attention_stages(register: Register) -> None:
    """Offer `gated_attention`."""
    register("gated_attention", f"{__name__}.stage:gated_attention", GatedAttentionOptions)
