"""The norm-matched residual in torch's operations: the plain formula, and the same with its gradient written out."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.linalg import vector_norm


def formula(tokens: Tensor, update: Tensor, scale: float | Tensor, keep: float, eps: float) -> Tensor:
    """`keep * tokens + scale * update * |tokens| / (|update| + eps)`, norms over the last axis.

    Every other form is measured against this one, which also takes any shapes that broadcast.
    """
    return keep * tokens + scale * update * (_norm(tokens) / (_norm(update) + eps))


class ClosedForm(Function):
    """The formula, bit for bit, for tokens and update of one shape `[..., D]` and a scale of one element.

    It keeps tokens, update and their norms for the gradient, where autograd through the formula keeps a scaled copy of
    the update as well, and it passes over memory less often. The gradient of a norm of zero is zero, as torch has it.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, update: Tensor, scale: float | Tensor, keep: float, eps: float) -> Tensor:
        """Return the joined tokens."""
        token_norm, update_norm = _norm(tokens), _norm(update)
        learned = scale if isinstance(scale, Tensor) else None
        ctx.save_for_backward(tokens, update, token_norm, update_norm, learned)
        ctx.scale, ctx.keep, ctx.eps = scale if learned is None else None, keep, eps
        joined, ratio = scale * update, token_norm / (update_norm + eps)
        joined = joined.mul_(ratio) if _holds(joined, ratio) else joined * ratio
        kept = tokens if keep == 1 else keep * tokens
        return joined.add_(kept) if _holds(joined, kept) else kept + joined

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Gradients for tokens, update and a scale that is a tensor, as far as they are asked for."""
        tokens, update, token_norm, update_norm, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # this gradient will be differentiated, and the saved norms are constants to that
            token_norm, update_norm = _norm(tokens), _norm(update)
        factor = ctx.scale if scale is None else scale
        divisor = update_norm + ctx.eps
        ratio = token_norm / divisor
        along = (gradient * update).sum(dim=-1, keepdim=True)
        pull = factor * along / divisor
        for_tokens = for_update = for_scale = None
        if ctx.needs_input_grad[0]:
            kept = gradient if ctx.keep == 1 else ctx.keep * gradient
            for_tokens = torch.addcmul(kept, tokens, _over(pull, token_norm))
        if ctx.needs_input_grad[1]:
            for_update = torch.addcmul(factor * ratio * gradient, update, _over(pull * ratio, update_norm), value=-1)
        if ctx.needs_input_grad[2]:
            for_scale = (along * ratio).sum().reshape(scale.shape)
        return for_tokens, for_update, for_scale, None, None


def _norm(rows: Tensor) -> Tensor:
    return vector_norm(rows, dim=-1, keepdim=True)


def _holds(target: Tensor, other: Tensor) -> bool:
    """Whether a result of both has the target's dtype, so that it can be written in the target's place."""
    return torch.promote_types(target.dtype, other.dtype) == target.dtype


def _over(value: Tensor, norm: Tensor) -> Tensor:
    """`value / norm`, and 0 where the norm is 0."""
    return (value / norm).masked_fill(norm == 0, 0)
