"""The stage itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from aaclip_kit import AttentionStage, Context, StageSetting, UserError

from . import ZeroInitAttentionOptions


class ZeroInitAttention(AttentionStage):
    """`x + scale * |x| * O / sqrt(1 + |O|²)`, with O the attention of x over the context, 0 at first.

    O is not divided by its bare norm, as `norm_matched_residual` does: O / |O| has no limit where O goes to zero, so
    the first gradient would be that of a division by an epsilon, a million times too large. This form is smooth
    everywhere: a small O is a plain residual, measured in norms of the token; a large one is norm-matched, so that
    `scale` bounds the update as it does there.
    Raises `UserError` where the heads do not divide the text width.
    """

    def __init__(self, options: ZeroInitAttentionOptions, setting: StageSetting) -> None:
        super().__init__()
        inner = setting.text_width
        if inner % options.heads:
            raise UserError(f"{options.heads} heads do not divide {inner}", where="heads", fix="choose a divisor")
        seen = setting.image_context_width if self.context_kind == "image" else setting.text_width
        self.heads, self.scale, self.dropout = options.heads, options.scale, options.dropout
        self.query = _linear(setting.width, inner)
        self.key = _linear(seen, inner)
        self.value = _linear(seen, inner)
        self.out = _linear(inner, setting.width)
        nn.init.zeros_(self.out.weight)

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        """Tokens `[items, L, D]` after the stage. Raises ValueError without a context."""
        if context is None:
            raise ValueError("zero_init_attention needs a context")
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
        update: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        norm: Tensor = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True)
        softened = update * torch.rsqrt(1 + update.square().sum(dim=-1, keepdim=True))
        return tokens + self.scale * norm * softened

    def attention_weights(self, tokens: Tensor, context: Context) -> Tensor:
        """Where each token looks: weights `[items, heads, L, M]` on its context row, without dropout."""
        keys = Context(self.key(context.tokens), context.mask).expanded(len(tokens))
        queries = self._split(self.query(tokens))
        likeness = queries @ self._split(keys.tokens).transpose(-2, -1) / math.sqrt(queries.shape[-1])
        if keys.mask is not None:
            likeness = likeness.masked_fill(~keys.mask[:, None, None], -torch.inf)
        return likeness.softmax(dim=-1)

    def _split(self, projected: Tensor) -> Tensor:
        return projected.reshape(*projected.shape[:2], self.heads, -1).transpose(1, 2)


class OverImage(ZeroInitAttention):
    """Text tokens attend to the patches of their image."""

    context_kind = "image"


class OverText(ZeroInitAttention):
    """Vision tokens attend to the prompts of their image's class."""

    context_kind = "text"


def zero_init_attention(options: ZeroInitAttentionOptions, setting: StageSetting) -> ZeroInitAttention:
    """The stage for its tower: each tower attends to the other's context."""
    return OverImage(options, setting) if options.tower == "text" else OverText(options, setting)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
