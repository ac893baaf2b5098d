"""Cross-attention through a bottleneck: the context is first read into a few learnt latents."""

from __future__ import annotations

from pydantic import Field

from aaclip_kit import Register, StageOptions, hookimpl

AAKIT_API = "2.0"


class PerceiverAttentionOptions(StageOptions):
    """Cross-attention over a few learnt latents that have read the other modality (Perceiver, arXiv 2103.03206)."""

    latents: int = Field(8, ge=1, le=1024, description="latents that the context is compressed to")
    heads: int = Field(8, ge=1, description="attention heads; must divide the text width")
    scale: float = Field(0.1, ge=0, le=10, description="strength of the stage's output in the token stream")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the attention weights, in training only")


@hookimpl
def register_attention_stages(register: Register) -> None:
    """Offer `perceiver_attention`."""
    register("perceiver_attention", f"{__name__}.stage:perceiver_attention", PerceiverAttentionOptions)
