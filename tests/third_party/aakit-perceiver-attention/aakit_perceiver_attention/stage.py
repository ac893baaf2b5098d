"""The stage itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, StageSetting, UserError, norm_matched_residual

from . import PerceiverAttentionOptions
from .attention import CrossAttention


class PerceiverAttention(AttentionStage):
    """Latents read the context, tokens attend to the latents, and the output joins norm-matched and scaled.

    A context row of M tokens is read once, however many items share it; an item then attends to the few latents in
    the place of M tokens.
    Raises `UserError` where the heads do not divide the text width.
    """

    def __init__(self, options: PerceiverAttentionOptions, setting: StageSetting) -> None:
        super().__init__()
        inner, heads, dropout = setting.text_width, options.heads, options.dropout
        if inner % heads:
            raise UserError(f"{heads} heads do not divide {inner}", where="heads", fix="choose a divisor")
        seen = setting.image_context_width if self.context_kind == "image" else setting.text_width
        self.scale = options.scale
        # Small, as the Perceiver's: what a latent holds is then what it has read. Its layer norm tells them apart.
        self.latents = nn.Parameter(0.02 * torch.randn(options.latents, inner))
        self.read = CrossAttention(inner, seen, inner, heads, dropout)
        self.look = CrossAttention(setting.width, inner, inner, heads, dropout)

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        """Tokens `[items, L, D]` after the stage. Raises ValueError without a context."""
        if context is None:
            raise ValueError("perceiver_attention needs a context")
        update = self.look(tokens, self.compressed(context).expanded(len(tokens)))
        return norm_matched_residual(tokens, update, scale=self.scale)

    def compressed(self, context: Context) -> Context:
        """The context in `[rows, latents, text width]`, without a mask: every latent may be attended to."""
        latents = self.latents.expand(len(context.tokens), -1, -1)
        return Context(latents + self.read(latents, context))


class OverImage(PerceiverAttention):
    """Text tokens attend to what was read of their image's patches."""

    context_kind = "image"


class OverText(PerceiverAttention):
    """Vision tokens attend to what was read of the prompts of their image's class."""

    context_kind = "text"


def perceiver_attention(options: PerceiverAttentionOptions, setting: StageSetting) -> PerceiverAttention:
    """The stage for its tower: each tower attends to the other's context."""
    return OverImage(options, setting) if options.tower == "text" else OverText(options, setting)
