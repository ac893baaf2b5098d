"""Attention of queries to keys, with dropout of its weights."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

_PARTS = 1 << 16
"""Dropout on a CPU acts with a probability that is a whole number of these parts."""


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
    return (weights * _kept(weights, dropped)) @ (values * (_PARTS / (_PARTS - dropped)))


def _kept(weights: Float[Tensor, "*shape"], dropped: int) -> Float[Tensor, "*shape"]:
    """1, or 0 with a probability of so many parts. A draw of 64 bits makes four, where torch takes one each."""
    draws = torch.empty(-(-weights.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    numbers = draws.view(torch.int16)[: weights.numel()].view(weights.shape)
    kept = torch.empty_like(weights, requires_grad=False)
    return torch.ge(numbers, dropped - _PARTS // 2, out=kept)
