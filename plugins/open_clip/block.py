"""One transformer block of open_clip, with its own attention or with V-V attention in its place."""

from __future__ import annotations

from jaxtyping import Float
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from aaclip_kit import Surgery


def run_block(
    block: ResidualAttentionBlock,
    tokens: Float[Tensor, "items L D"],
    *,
    causal: bool = False,
    surgery: Surgery = "none",
) -> Float[Tensor, "items L D"]:
    """Run the block; only the attention weights depend on `surgery`.

    "tokens": softmax(V V^T / sqrt(d)) over the tokens of one item. "batch": the same over the items at each position,
    as the published code computes it on a layout that it takes for batch-first (method: section 9, row 1).
    """
    normed = block.ln_1(tokens)
    if surgery == "batch":
        update = attention(block.attn, normed.transpose(0, 1), values_only=True).transpose(0, 1)
    else:
        update = attention(block.attn, normed, causal=causal, values_only=surgery == "tokens")
    tokens = tokens + block.ls_1(update)
    out: Tensor = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return out


def attention(
    layer: nn.MultiheadAttention, tokens: Float[Tensor, "items L D"], *, causal: bool = False, values_only: bool = False
) -> Float[Tensor, "items L D"]:
    """Self-attention with the layer's weights by torch's fused kernels; `values_only` puts V in place of Q and K."""
    weight, bias = layer.in_proj_weight, layer.in_proj_bias
    if values_only:
        start = 2 * layer.embed_dim
        values = _split(linear(tokens, weight[start:], bias[start:]), layer.num_heads)
        attended = scaled_dot_product_attention(values, values, values)
    else:
        query, key, value = (_split(part, layer.num_heads) for part in linear(tokens, weight, bias).chunk(3, dim=-1))
        attended = scaled_dot_product_attention(query, key, value, is_causal=causal)
    out: Tensor = layer.out_proj(attended.transpose(1, 2).flatten(2))
    return out


def _split(projected: Float[Tensor, "items L D"], heads: int) -> Float[Tensor, "items heads L head_width"]:
    items, length, _ = projected.shape
    return projected.reshape(items, length, heads, -1).transpose(1, 2)
