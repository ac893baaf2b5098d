"""The Triton kernels of the norm-matched residual: a program reads each of its rows once and holds it in registers.

Arithmetic is in float32 whatever the tensors hold. Only `norm_matched.py` imports this, and only when it is used.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

_TILE = 2048
"""Elements of each tensor that a program holds at least: narrow rows share one."""


def forward(
    tokens: Tensor, update: Tensor, scale: Tensor | None, factor: float, keep: float, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Joined tokens `[..., D]` of `dtype`, and the norms of tokens and update, `[...]` in float32."""
    tokens, update = tokens.contiguous(), update.contiguous()
    joined = torch.empty_like(tokens, dtype=dtype)
    norms = [torch.empty(tokens.shape[:-1], dtype=torch.float32, device=tokens.device) for _ in range(2)]
    _launch(_forward_kernel, tokens, (tokens, update, scale, joined, *norms), (factor, keep, eps), scale is not None)
    return joined, norms[0], norms[1]


def backward(
    gradient: Tensor,
    tokens: Tensor,
    update: Tensor,
    token_norm: Tensor,
    update_norm: Tensor,
    scale: Tensor | None,
    factor: float,
    keep: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for tokens and update, each in its dtype, and for the scale: one float32 share a row, else empty."""
    gradient, tokens, update = gradient.contiguous(), tokens.contiguous(), update.contiguous()
    for_tokens, for_update = torch.empty_like(tokens), torch.empty_like(update)
    shares = torch.empty_like(token_norm) if scale is not None else token_norm.new_empty(0)
    tensors = (gradient, tokens, update, token_norm, update_norm, scale, for_tokens, for_update, shares)
    _launch(_backward_kernel, tokens, tensors, (factor, keep, eps), scale is not None)
    return for_tokens, for_update, shares


def _launch(kernel, like: Tensor, tensors, numbers, learned: bool) -> None:
    width = like.shape[-1]
    rows = like.numel() // width
    if not rows:
        return
    columns = triton.next_power_of_2(width)
    together = max(1, _TILE // columns)
    warps = min(16, max(4, columns // 512))
    # Triton launches on the current device, which need not be the tensors'.
    with torch.cuda.device_of(like):
        kernel[(triton.cdiv(rows, together),)](
            *tensors, rows, width, *numbers, LEARNED=learned, ROWS=together, COLUMNS=columns, num_warps=warps
        )


@triton.jit
def _forward_kernel(
    tokens_at, update_at, scale_at, joined_at, token_norm_at, update_norm_at,
    rows, width, factor, keep, eps,
    LEARNED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    place = row.to(tl.int64)[:, None] * width + column[None, :]
    tokens = tl.load(tokens_at + place, mask=inside, other=0.0).to(tl.float32)
    update = tl.load(update_at + place, mask=inside, other=0.0).to(tl.float32)
    scale = factor
    if LEARNED:
        scale = factor * tl.load(scale_at).to(tl.float32)
    token_norm = tl.sqrt(tl.sum(tokens * tokens, axis=1))
    update_norm = tl.sqrt(tl.sum(update * update, axis=1))
    ratio = token_norm / (update_norm + eps)
    joined = keep * tokens + scale * update * ratio[:, None]
    tl.store(joined_at + place, joined, mask=inside)
    tl.store(token_norm_at + row, token_norm, mask=row < rows)
    tl.store(update_norm_at + row, update_norm, mask=row < rows)


@triton.jit
def _backward_kernel(
    gradient_at, tokens_at, update_at, token_norm_at, update_norm_at, scale_at, for_tokens_at, for_update_at, shares_at,
    rows, width, factor, keep, eps,
    LEARNED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    inside = (row < rows)[:, None] & (column < width)[None, :]
    place = row.to(tl.int64)[:, None] * width + column[None, :]
    gradient = tl.load(gradient_at + place, mask=inside, other=0.0).to(tl.float32)
    tokens = tl.load(tokens_at + place, mask=inside, other=0.0).to(tl.float32)
    update = tl.load(update_at + place, mask=inside, other=0.0).to(tl.float32)
    # Rows that are none have norms of 1, so that nothing is divided by zero.
    token_norm = tl.load(token_norm_at + row, mask=row < rows, other=1.0)
    update_norm = tl.load(update_norm_at + row, mask=row < rows, other=1.0)
    scale = factor
    if LEARNED:
        scale = factor * tl.load(scale_at).to(tl.float32)
    ratio = token_norm / (update_norm + eps)
    along = tl.sum(gradient * update, axis=1)
    pull = scale * along / (update_norm + eps)
    # The gradient of a norm of zero is zero, as torch has it.
    towards_tokens = tl.where(token_norm == 0, 0.0, pull / tl.where(token_norm == 0, 1.0, token_norm))
    towards_update = tl.where(update_norm == 0, 0.0, pull * ratio / tl.where(update_norm == 0, 1.0, update_norm))
    tl.store(for_tokens_at + place, keep * gradient + towards_tokens[:, None] * tokens, mask=inside)
    tl.store(for_update_at + place, (scale * ratio)[:, None] * gradient - towards_update[:, None] * update, mask=inside)
    if LEARNED:
        tl.store(shares_at + row, factor * along * ratio, mask=row < rows)
