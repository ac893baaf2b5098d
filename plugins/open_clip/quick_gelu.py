"""OpenAI's activation, `x * sigmoid(1.702 x)`, in half of the passes over memory that open_clip's takes."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu

SLOPE = 1.702


class QuickGELU(nn.Module):
    """`silu(1.702 x) / 1.702`, which keeps its input alone for the backward pass."""

    def forward(self, x: Float[Tensor, "*items D"]) -> Float[Tensor, "*items D"]:
        """Apply it to every number."""
        out: Tensor = _QuickGELU.apply(x)
        return out


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return silu(x * SLOPE, inplace=True).div_(SLOPE)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        found: Tensor = torch.ops.aten.silu_backward(gradient, x * SLOPE)
        return found
