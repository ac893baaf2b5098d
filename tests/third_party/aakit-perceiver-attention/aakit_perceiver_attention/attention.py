"""Multi-head attention of one sequence over another, each layer-normed first, as the Perceiver's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from aaclip_kit import Context


class CrossAttention(nn.Module):
    """Rows of `width` channels attend to rows of `seen` channels, in `heads` heads of `inner` channels together."""

    def __init__(self, width: int, seen: int, inner: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query_norm, self.context_norm = nn.LayerNorm(width), nn.LayerNorm(seen)
        self.query = _linear(width, inner)
        self.key = _linear(seen, inner)
        self.value = _linear(seen, inner)
        self.out = _linear(inner, width)

    def forward(self, queries: Tensor, context: Context) -> Tensor:
        """What queries `[rows, L, width]` take from a context of as many rows: `[rows, L, width]`."""
        seen = self.context_norm(context.tokens)
        attended = scaled_dot_product_attention(
            self._split(self.query(self.query_norm(queries))),
            self._split(self.key(seen)),
            self._split(self.value(seen)),
            attn_mask=None if context.mask is None else context.mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        update: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return update

    def _split(self, projected: Tensor) -> Tensor:
        return projected.reshape(*projected.shape[:2], self.heads, -1).transpose(1, 2)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
