"""The formula with its gradient written out: the formula's values bit for bit, and autograd's gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from aaclip_kit import norm_matched_residual
from aaclip_kit.kernels.norm_matched import ClosedForm, formula, norm_matched

from ..helpers import assert_close
from .cases import CASES, UNREAD, Case, compiles_choices

EXACT = [name for name, case in CASES.items() if case.tokens == case.update == torch.float32]


@pytest.mark.parametrize("name", CASES)
def test_the_values_are_the_formulas_bit_for_bit(name: str) -> None:
    case = CASES[name]
    given = (*case.inputs(), case.keep, case.eps)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            joined, expected = ClosedForm.apply(*given), formula(*given)
        assert joined.dtype == expected.dtype, f"autocast {autocast}"
        assert torch.equal(joined, expected), f"autocast {autocast}"


@pytest.mark.parametrize("name", EXACT)
def test_the_gradients_are_those_of_the_formula(name: str) -> None:
    case = CASES[name]
    for found, expected in zip(gradients(ClosedForm.apply, case), gradients(formula, case), strict=True):
        assert found.dtype == torch.float64
        assert_close(found, expected, rtol=1e-9, atol=1e-9)


def gradients(form: object, case: Case) -> tuple[Tensor, ...]:
    """In float64, for whatever of tokens, update and scale takes one."""
    given = case.inputs(torch.float64)
    joined = form(*given, case.keep, case.eps)  # type: ignore[operator]
    return torch.autograd.grad(
        joined, [value for value in given if isinstance(value, Tensor)], case.gradient().double()
    )


@pytest.mark.parametrize("case", [Case((2, 3, 5)), Case((2, 3, 5), learned=(), keep=0.9), Case((4, 5), learned=(1, 1))])
def test_gradients_and_their_gradients_are_slopes(case: Case) -> None:
    given = (*case.inputs(torch.float64), case.keep, case.eps)
    assert torch.autograd.gradcheck(ClosedForm.apply, given)  # type: ignore[arg-type]  # floats are taken too
    assert torch.autograd.gradgradcheck(ClosedForm.apply, given)  # type: ignore[arg-type]


def test_gradients_have_the_dtypes_of_what_they_are_for() -> None:
    case = CASES["float32 tokens, bfloat16 update"]
    tokens, update, scale = case.inputs()
    assert isinstance(scale, Tensor)
    ClosedForm.apply(tokens, update, scale, case.keep, case.eps).backward(case.gradient())
    for found, expected in zip((tokens, update, scale), gradients(formula, case), strict=True):
        assert found.grad is not None and found.grad.dtype == found.dtype
        assert_close(found.grad.double(), expected, rtol=2**-7, atol=1e-3)  # the norm of a bfloat16 update is one too


def test_less_is_kept_for_the_gradient() -> None:
    case = Case((4, 8, 256))
    size = 4 * 8 * 256 * 4
    assert kept_bytes(ClosedForm.apply, case) < 2.1 * size
    assert kept_bytes(formula, case) > 2.9 * size


def kept_bytes(form: object, case: Case) -> int:
    """Bytes of the different tensors that are kept for the gradient."""
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        kept[value.data_ptr()] = value.untyped_storage().nbytes()
        return value

    with saved_tensors_hooks(pack, lambda value: value):
        joined = form(*case.inputs(), case.keep, case.eps)  # type: ignore[operator]
    assert joined.requires_grad
    return sum(kept.values())


def test_shapes_that_are_broadcast_go_by_the_formula() -> None:
    tokens, update = torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    by_channel = torch.rand(8, requires_grad=True)
    joined = norm_matched_residual(tokens, update, by_channel)
    assert_close(joined, formula(tokens, update, by_channel, 1.0, 1e-6))
    joined.sum().backward()
    assert by_channel.grad is not None and by_channel.grad.shape == (8,)


@pytest.mark.slow
@pytest.mark.skipif(not compiles_choices(), reason=UNREAD)
def test_it_is_compiled_whole() -> None:
    tokens, update, scale = CASES["a learned scale"].inputs()
    compiled = torch.compile(norm_matched, backend="aot_eager", fullgraph=True)
    compiled(tokens, update, scale, 1.0, 1e-6).backward(CASES["a learned scale"].gradient())
    found = [value.grad for value in (tokens, update, scale) if isinstance(value, Tensor)]
    for slope, expected in zip(found, gradients(formula, CASES["a learned scale"]), strict=True):
        assert slope is not None
        assert_close(slope.double(), expected)
