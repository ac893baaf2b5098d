"""What a loss teaches."""

from __future__ import annotations

from ..check import Found
from ..subject import Subject
from .given import batch, build, differentiable, terms, total


def gradient_reaches_what_is_trained(subject: Subject) -> None:
    """Of a batch with both labels."""
    loss = build(subject)
    named = batch()
    predictions = differentiable(named, loss)
    objective = total(terms(loss, named))
    if objective.requires_grad:
        objective.backward()
    if not any(value.grad is not None and value.grad.any() for value in predictions.values()):
        raise Found(f"no gradient reaches any of {', '.join(predictions)}")
