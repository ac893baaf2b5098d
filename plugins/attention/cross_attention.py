"""Scaled, norm-matched multi-head cross-attention (method: section 4)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from aaclip_kit import AttentionStage, Context, StageSetting, UserError, norm_matched_residual

from . import CrossAttentionOptions

_PARTS = 1 << 16
"""Dropout on a CPU acts with a probability that is a whole number of these parts."""


class CrossAttention(AttentionStage):
    """Tokens attend to a context, in heads of the text width, and take up the output scaled and norm-matched.

    Raises `UserError` where the heads do not divide the text width.
    """

    reads_row_of = True

    def __init__(self, options: CrossAttentionOptions, setting: StageSetting) -> None:
        super().__init__()
        inner = setting.text_width
        if inner % options.heads:
            problem = f"{options.heads} heads do not divide the text width {inner}"
            fix = f"choose one of {', '.join(str(n) for n in range(1, 33) if inner % n == 0)}"
            raise UserError(problem, where="heads, in the stage's table", fix=fix)
        context_width = setting.image_context_width if self.context_kind == "image" else setting.text_width
        self.heads, self.scale, self.dropout = options.heads, options.scale, options.dropout
        self.norm_matched = options.norm_matched
        self.q_proj = _linear(setting.width, inner)
        self.k_proj = _linear(context_width, inner)
        self.v_proj = _linear(context_width, inner)
        self.out_proj = _linear(inner, setting.width)

    def forward(self, tokens: Float[Tensor, "items L D"], context: Context | None) -> Float[Tensor, "items L D"]:
        """Return `tokens + scale * attention`, the attention norm-matched unless that is switched off."""
        if context is None:
            raise ValueError(f"{type(self).__name__} needs a context")
        update = self.attend(tokens, context)
        if self.norm_matched:
            return norm_matched_residual(tokens, update, scale=self.scale)
        return tokens + self.scale * update

    def attend(self, tokens: Float[Tensor, "items L D"], context: Context) -> Float[Tensor, "items L D"]:
        """The attention's output alone, before it joins the stream.

        Items that share a context row are laid end to end as queries of that row, so no context is ever copied; where
        they mix rows, each row's keys and values are computed once and picked for its items.
        """
        items, length, width = tokens.shape
        keys, values, mask = self.k_proj(context.tokens), self.v_proj(context.tokens), context.mask
        if context.row_of is not None:
            # Not keys[row_of]: with several threads its gradient adds up in any order.
            keys, values = keys.index_select(0, context.row_of), values.index_select(0, context.row_of)
            mask = None if mask is None else mask.index_select(0, context.row_of)
        rows = len(keys)
        if items % rows:
            raise ValueError(f"{items} items cannot share {rows} context rows evenly")
        queries = self._split(self.q_proj(tokens.reshape(rows, items // rows * length, width)))
        dropout = self.dropout if self.training else 0.0
        attended = attend(queries, self._split(keys), self._split(values), mask, dropout)
        return self.out_proj(attended.transpose(1, 2).reshape(items, length, -1))

    def attention_weights(
        self, tokens: Float[Tensor, "items L D"], context: Context
    ) -> Float[Tensor, "items heads L M"]:
        """Where each token looks: its weight on each token of its context row, in each head; no dropout."""
        rows = context.expanded(len(tokens))
        queries, keys = self._split(self.q_proj(tokens)), self._split(self.k_proj(rows.tokens))
        similarity = queries @ keys.transpose(-2, -1) / queries.shape[-1] ** 0.5
        if rows.mask is not None:
            similarity = similarity.masked_fill(~rows.mask[:, None, None, :], -torch.inf)
        return similarity.softmax(dim=-1)

    def _split(self, projected: Float[Tensor, "rows n inner"]) -> Float[Tensor, "rows heads n head_width"]:
        rows, length, _ = projected.shape
        return projected.reshape(rows, length, self.heads, -1).transpose(1, 2)


class TextToImage(CrossAttention):
    """Stage 1: text tokens attend to the patches of their image."""

    context_kind = "image"


class ImageToText(CrossAttention):
    """Stage 2: vision tokens, class token included, attend to the prompts of their image's class."""

    context_kind = "text"


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def attend(
    queries: Float[Tensor, "rows heads L d"],
    keys: Float[Tensor, "rows heads M d"],
    values: Float[Tensor, "rows heads M d"],
    mask: Bool[Tensor, "rows M"] | None = None,
    dropout: float = 0.0,
) -> Float[Tensor, "rows heads L d"]:
    """Mean of the values by softmax(Q K^T / sqrt(d)) over the keys that the mask, if any, lets through.

    Of the weights, each is set to 0 with probability `dropout`, and the others scaled up to the same expected sum.
    """
    if not dropout or queries.device.type != "cpu":
        seen = None if mask is None else mask[:, None, None, :]
        return scaled_dot_product_attention(queries, keys, values, attn_mask=seen, dropout_p=dropout)
    # With dropout, torch's own form for a CPU takes three times as long: most of it draws the numbers.
    similarity = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-2, -1)
    if mask is not None:
        hidden = torch.zeros_like(mask, dtype=similarity.dtype).masked_fill_(~mask, -torch.inf)
        similarity += hidden[:, None, None, :]
    weights = similarity.softmax(dim=-1)
    dropped = min(round(dropout * _PARTS), _PARTS - 1)
    return (weights * _dropout_mask(weights, dropped)) @ (values * (_PARTS / (_PARTS - dropped)))


def _dropout_mask(weights: Float[Tensor, "*shape"], dropped: int) -> Float[Tensor, "*shape"]:
    """1, or 0 with a probability of so many parts. A draw of 64 bits makes four, where torch takes one each."""
    draws = torch.empty(-(-weights.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    numbers = draws.view(torch.int16)[: weights.numel()].view(weights.shape)
    mask = torch.empty_like(weights, requires_grad=False)
    return torch.ge(numbers, dropped - _PARTS // 2, out=mask)
