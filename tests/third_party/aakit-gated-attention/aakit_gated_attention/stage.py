"""The stage itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from aaclip_kit import AttentionStage, Context, StageSetting, UserError, norm_matched_residual

from . import GatedAttentionOptions


class GatedAttention(AttentionStage):
    """`x + tanh(gate) * attention(x, context)`, norm-matched. Raises `UserError` where the heads do not divide."""

    context_kind = "text"

    def __init__(self, options: GatedAttentionOptions, setting: StageSetting) -> None:
        super().__init__()
        inner = setting.text_context_width
        if inner % options.heads:
            raise UserError(f"{options.heads} heads do not divide {inner}", where="heads", fix="choose a divisor")
        self.heads = options.heads
        self.query = nn.Linear(setting.width, inner)
        self.key_value = nn.Linear(inner, 2 * inner)
        self.out = nn.Linear(inner, setting.width)
        self.gate = nn.Parameter(torch.tensor(options.gate))

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        """Tokens `[items, L, D]` after the stage."""
        if context is None:
            raise ValueError("gated_attention needs a context")
        seen = context.expanded(len(tokens))
        keys, values = self.key_value(seen.tokens).chunk(2, dim=-1)
        mask = None if seen.mask is None else seen.mask[:, None, None]
        update = scaled_dot_product_attention(
            self._split(self.query(tokens)), self._split(keys), self._split(values), mask
        )
        joined = self.out(update.transpose(1, 2).flatten(2))
        return norm_matched_residual(tokens, joined, scale=torch.tanh(self.gate))

    def _split(self, projected: Tensor) -> Tensor:
        return projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
