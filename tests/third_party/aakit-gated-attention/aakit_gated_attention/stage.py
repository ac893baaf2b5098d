"""The stage itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from aaclip_kit import AttentionStage, Context, StageSetting, UserError, norm_matched_residual

from . import GatedAttentionOptions


class GatedAttention(AttentionStage):
    """`x + tanh(gate) * O |x| / |O|`, with O the attention of x over the context; one gate a stage.

    The gate takes the place of a fixed scale: a stage that does harm can close itself, and one that helps can open.
    Raises `UserError` where the heads do not divide the text width.
    """

    def __init__(self, options: GatedAttentionOptions, setting: StageSetting) -> None:
        super().__init__()
        inner = setting.text_width
        if inner % options.heads:
            raise UserError(f"{options.heads} heads do not divide {inner}", where="heads", fix="choose a divisor")
        seen = setting.image_context_width if self.context_kind == "image" else setting.text_width
        self.heads, self.dropout = options.heads, options.dropout
        self.query = _linear(setting.width, inner)
        self.key = _linear(seen, inner)
        self.value = _linear(seen, inner)
        self.out = _linear(inner, setting.width)
        self.gate = nn.Parameter(torch.tensor(options.gate))

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        """Tokens `[items, L, D]` after the stage. Raises ValueError without a context."""
        if context is None:
            raise ValueError("gated_attention needs a context")
        # Projected before they are copied for the items that share a row.
        keys = Context(self.key(context.tokens), context.mask).expanded(len(tokens))
        values = Context(self.value(context.tokens)).expanded(len(tokens))
        attended = scaled_dot_product_attention(
            self._split(self.query(tokens)),
            self._split(keys.tokens),
            self._split(values.tokens),
            attn_mask=None if keys.mask is None else keys.mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        update = self.out(attended.transpose(1, 2).flatten(2))
        return norm_matched_residual(tokens, update, scale=torch.tanh(self.gate))

    def _split(self, projected: Tensor) -> Tensor:
        return projected.reshape(*projected.shape[:2], self.heads, -1).transpose(1, 2)


class OverImage(GatedAttention):
    """Text tokens attend to the patches of their image."""

    context_kind = "image"


class OverText(GatedAttention):
    """Vision tokens attend to the prompts of their image's class."""

    context_kind = "text"


def gated_attention(options: GatedAttentionOptions, setting: StageSetting) -> GatedAttention:
    """The stage for its tower: each tower attends to the other's context."""
    return OverImage(options, setting) if options.tower == "text" else OverText(options, setting)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
