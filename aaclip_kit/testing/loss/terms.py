"""What a loss asks for, and what it returns."""

from __future__ import annotations

from torch import Tensor

from ..check import Found
from ..subject import Subject
from .given import batch, build, phases, terms


def needs_what_is_made(subject: Subject) -> None:
    """Some phase can use it, and nothing in it would have to be trained."""
    loss = build(subject)
    if own := [name for name, _ in loss.named_parameters()]:
        raise Found(f"it has parameters, which no phase trains: {', '.join(own)}")
    if not phases(loss):
        raise Found(f"no phase both makes and trains what it needs: {', '.join(loss.needs)}")


def gives_scalar_terms(subject: Subject) -> None:
    """Named tensors without dimensions."""
    found = terms(build(subject), batch())
    if not isinstance(found, dict) or not found:
        raise Found(
            f"forward returned {found if isinstance(found, dict) else type(found).__name__}, not a dict of terms"
        )
    for name, value in found.items():
        if not isinstance(name, str):
            raise Found(f"a term is named {name!r}, which is no text")
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise Found(f"term '{name}' is {type(value).__name__}, not a floating-point tensor")
        if value.dim():
            raise Found(f"term '{name}' has shape {list(value.shape)}")
