"""Inputs that every form of the norm-matched residual is tried on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from aaclip_kit.kernels.norm_matched import fused_is_on

FULL, BRAIN, HALF = torch.float32, torch.bfloat16, torch.float16


@dataclass(frozen=True)
class Case:
    """Tokens and update of noise. The first rows of `zero` ("tokens", "update") are zero."""

    shape: tuple[int, ...]
    tokens: torch.dtype = FULL
    update: torch.dtype = FULL
    scale: float = 0.3
    learned: tuple[int, ...] | None = None
    keep: float = 1.0
    eps: float = 1e-6
    zero: str = ""
    turned: bool = False

    def inputs(self, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, float | Tensor]:
        """Tokens, update and scale that take gradients: the same values in another dtype, if one is given."""
        generator = torch.Generator().manual_seed(3)
        shape = self.shape[::-1] if self.turned else self.shape
        tokens, update = (torch.randn(shape, generator=generator) * size for size in (2.0, 0.7))
        if self.turned:
            tokens, update = tokens.permute(*range(tokens.ndim)[::-1]), update.permute(*range(update.ndim)[::-1])
        for name, rows in (("tokens", tokens), ("update", update)):
            if name in self.zero:
                rows[: len(rows) // 2] = 0
        tokens, update = tokens.to(self.tokens), update.to(self.update)
        scale = self.scale if self.learned is None else torch.full(self.learned, self.scale)
        given = [
            value if isinstance(value, float) else value.to(dtype or value.dtype) for value in (tokens, update, scale)
        ]
        return tuple(value if isinstance(value, float) else value.requires_grad_() for value in given)  # type: ignore[return-value]

    def gradient(self) -> Tensor:
        """What flows in from behind, in float32."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(4))


CASES = {
    "many rows in a program": Case((3, 5, 64)),
    "a width that is no power of two": Case((2, 3, 100), keep=0.9, eps=1e-12),
    "more rows than one program takes": Case((3, 27, 48)),
    "one wide row in a program": Case((2, 3, 3000), keep=0.9),
    "the widest of CLIP's family": Case((3, 4096)),
    "a single row": Case((40,)),
    "no row": Case((0, 16)),
    "a learned scale": Case((4, 6, 96), learned=()),
    "a learned scale with an axis": Case((4, 6, 96), learned=(1,), keep=0.5),
    "memory in another order": Case((5, 7, 33), turned=True),
    "zero updates": Case((4, 3, 32), zero="update"),
    "zero updates of an adapter": Case((4, 3, 32), zero="update", keep=0.9, eps=1e-12, learned=()),
    "zero tokens": Case((4, 3, 32), zero="tokens", learned=()),
    "zero tokens and updates": Case((4, 3, 32), zero="tokens update", eps=1e-12),
    "bfloat16": Case((3, 5, 64), BRAIN, BRAIN, learned=()),
    "float16": Case((3, 5, 64), HALF, HALF, keep=0.9),
    "float32 tokens, bfloat16 update": Case((3, 5, 64), FULL, BRAIN, learned=()),
    "bfloat16 tokens, float32 update": Case((3, 5, 64), BRAIN, FULL),
}


UNREAD = f"the compiler of torch {torch.__version__} takes in no context variables, by which the kernel is chosen"


def compiles_choices() -> bool:
    """Whether torch.compile takes in what `fused_is_on` reads; in torch 2.6 it leaves that to Python."""
    compiled = torch.compile(lambda value: value + fused_is_on(), backend="eager", fullgraph=True)
    try:
        compiled(torch.zeros(1))
    except torch._dynamo.exc.Unsupported:
        return False
    return True
