"""The norm-matched residual: the formula, the formula with its gradient written out, and the fused kernel."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float
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


def norm_matched_residual(
    tokens: Float[Tensor, "*items D"],
    update: Float[Tensor, "*items D"],
    scale: float | Tensor,
    keep: float = 1.0,
    eps: float = 1e-6,
) -> Float[Tensor, "*items D"]:
    """`keep * tokens + scale * update * |tokens| / (|update| + eps)`, norms over channels (method: sections 3, 4)."""
    return norm_matched(tokens, update, scale, keep, eps)


# A context variable rather than a thread-local one: torch.compile guards on its value, or stops compiling there.
_FUSED: ContextVar[bool] = ContextVar("fused_residual", default=False)


@contextmanager
def fused_residual(on: bool) -> Iterator[None]:
    """Within this, in this thread, `norm_matched_residual` is the fused kernel, or is not."""
    before = _FUSED.set(on)
    try:
        yield
    finally:
        _FUSED.reset(before)


def fused_is_on() -> bool:
    """Whether the fused kernel is chosen here."""
    return _FUSED.get()


WIDEST = 16384
"""Most channels that the kernel holds in registers at once."""

_FORWARD = "(Tensor tokens, Tensor update, Tensor? scale, float factor, float keep, float eps, ScalarType dtype)"
_BACKWARD = "(Tensor gradient, Tensor tokens, Tensor update, Tensor token_norm, Tensor update_norm, Tensor? scale, "
_BACKWARD += "float factor, float keep, float eps)"
_THREE = " -> (Tensor, Tensor, Tensor)"


def norm_matched(tokens: Tensor, update: Tensor, scale: float | Tensor, keep: float, eps: float) -> Tensor:
    """`keep * tokens + scale * update * |tokens| / (|update| + eps)`, by the fused kernel where that is chosen.

    Float64, rows wider than `WIDEST`, and shapes that have to be broadcast are left to torch's operations.
    """
    single = not isinstance(scale, Tensor) or (scale.numel() == 1 and scale.ndim <= tokens.ndim)
    if not single or tokens.shape != update.shape:
        return formula(tokens, update, scale, keep, eps)
    dtype = _result_dtype(tokens, update, scale)
    if fused_is_on() and dtype != torch.float64 and tokens.shape[-1] <= WIDEST:
        return fused(tokens, update, scale, keep, eps, dtype)
    return ClosedForm.apply(tokens, update, scale, keep, eps)


def fused(tokens: Tensor, update: Tensor, scale: float | Tensor, keep: float, eps: float, dtype: torch.dtype) -> Tensor:
    """By the kernel: tokens and update of one shape `[..., D]`, a scale of one element, float32 arithmetic."""
    if isinstance(scale, Tensor):
        given, factor = scale.reshape(()).to(tokens.device), 1.0
    else:
        given, factor = None, float(scale)
    return _operator(tokens, update, given, factor, keep, eps, dtype)[0]


def why_not_fused(device: torch.device) -> str | None:
    """Why the kernel cannot run on this device, in words; None where it can: it is tried there, with its gradient.

    With TRITON_INTERPRET=1 it can on a CPU, in Triton's interpreter, to be tested and not to be fast.
    """
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        return f"it is a kernel for CUDA devices, and the device is {device}"
    try:
        with torch.inference_mode(False), torch.enable_grad():
            rows = torch.ones(2, 64, device=device, requires_grad=True)
            fused(rows, rows, 1.0, 1.0, 1e-6, torch.float32).sum().backward()
    except ImportError:
        return "triton is not installed"
    except Exception as error:
        return f"triton cannot run it on {device} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"
    return None


def _result_dtype(tokens: Tensor, update: Tensor, scale: float | Tensor) -> torch.dtype:
    """The dtype that the formula gives."""
    if tokens.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return torch.float32  # there, and not on a CPU, autocast takes norms in float32, and the rest follows them
    dtype = torch.promote_types(tokens.dtype, update.dtype)
    return torch.promote_types(dtype, scale.dtype) if isinstance(scale, Tensor) and scale.ndim else dtype


@torch.library.custom_op("aaclip_kit::norm_matched_residual", mutates_args=(), schema=_FORWARD + _THREE)
def _operator(
    tokens: Tensor, update: Tensor, scale: Tensor | None, factor: float, keep: float, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    from .triton_norm_matched import forward

    return forward(tokens, update, scale, factor, keep, eps, dtype)


@torch.library.custom_op("aaclip_kit::norm_matched_residual_backward", mutates_args=(), schema=_BACKWARD + _THREE)
def _backward_operator(
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
    from .triton_norm_matched import backward

    return backward(gradient, tokens, update, token_norm, update_norm, scale, factor, keep, eps)


@_operator.register_fake
def _(tokens: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    norm = tokens.new_empty(tokens.shape[:-1], dtype=torch.float32)
    return tokens.new_empty(tokens.shape, dtype=others[-1]), norm, torch.empty_like(norm)


@_backward_operator.register_fake
def _(gradient: Tensor, tokens: Tensor, update: Tensor, token_norm: Tensor, *others: Any) -> tuple[Tensor, ...]:
    shares = token_norm.new_empty(0 if others[1] is None else token_norm.shape)
    return tokens.new_empty(tokens.shape), update.new_empty(update.shape), shares


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    tokens, update, scale, ctx.factor, ctx.keep, ctx.eps, _ = inputs
    ctx.mark_non_differentiable(*output[1:])
    ctx.save_for_backward(tokens, update, *output[1:], scale)


def _differentiate(ctx: Any, gradient: Tensor, *others: Any) -> tuple[Tensor | None, ...]:
    *tensors, scale = ctx.saved_tensors
    gradients = _backward_operator(gradient, *tensors, scale, ctx.factor, ctx.keep, ctx.eps)
    for_scale = None if scale is None else gradients[2].sum().to(scale.dtype)
    return gradients[0], gradients[1], for_scale, None, None, None, None


_operator.register_autograd(_differentiate, setup_context=_save)
