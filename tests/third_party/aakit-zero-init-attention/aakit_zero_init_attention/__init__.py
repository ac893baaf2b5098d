"""Cross-attention that is not there at first: its output projection starts at zero."""

from __future__ import annotations

from pydantic import Field

from aaclip_kit import Register, StageOptions, hookimpl

AAKIT_API = "2.0"


class ZeroInitAttentionOptions(StageOptions):
    """Cross-attention over the other modality that starts as no change at all and grows from there."""

    heads: int = Field(8, ge=1, description="attention heads; must divide the text width")
    scale: float = Field(0.1, ge=0, le=10, description="most that an update can measure, in norms of its token")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the attention weights, in training only")


@hookimpl
def register_attention_stages(register: Register) -> None:
    """Offer `zero_init_attention`."""
    register("zero_init_attention", f"{__name__}.stage:zero_init_attention", ZeroInitAttentionOptions)
