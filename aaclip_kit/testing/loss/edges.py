"""Extreme predictions, one-sided batches, small batches."""

from __future__ import annotations

from typing import get_args

from ...contracts.loss import Loss
from ..check import Found
from ..subject import Subject
from .given import Labels, Named, batch, build, differentiable, terms, total


def finite_at_the_edges(subject: Subject) -> None:
    """Every kind of batch, with usual probabilities and with 0 and 1."""
    loss = build(subject)
    for labels in get_args(Labels):
        for edges in (False, True):
            sort = "normal and anomalous images" if labels == "mixed" else f"{labels} images only"
            said = f"for {sort}" + (", at probabilities of exactly 0 and 1" if edges else "")
            _finite(loss, batch(labels, edges=edges), said)


def takes_any_batch(subject: Subject) -> None:
    """One image, one level, three levels."""
    loss = build(subject)
    for said, named in (
        ("for one normal image", batch("normal", images=1)),
        ("for one anomalous image", batch("anomalous", images=1)),
        ("for one level", batch(levels=(4,))),
        ("for three levels", batch(levels=(1, 2, 5))),
    ):
        _finite(loss, named, said)


def _finite(loss: Loss, named: Named, said: str) -> None:
    predictions = differentiable(named, loss)
    try:
        found = terms(loss, named)
    except Exception as error:
        raise Found(f"{said}, forward raised {type(error).__name__}: {error}") from error
    if bad := [name for name, value in found.items() if not value.isfinite().all()]:
        raise Found(f"{said}, these terms are not finite: {', '.join(bad)}")
    if (objective := total(found)).requires_grad:
        objective.backward()
    for name, value in predictions.items():
        if value.grad is not None and not value.grad.isfinite().all():
            raise Found(f"{said}, the gradient at {name} is not finite")
