"""Widths, shapes, and arguments that stay as they are."""

from __future__ import annotations

import torch
from pydantic import ValidationError
from torch import Tensor

from ...contracts.stage import AttentionStage
from ..check import Found, NotApplicable
from ..subject import Subject
from .given import WIDTHS, Given, beyond, build, inputs, result, settings, stirred

SIZES = (
    # items, rows, L, M
    (1, 1, 1, 1),
    (1, 1, 5, 3),
    (3, 3, 7, 1),
    (6, 2, 3, 9),
    (4, 1, 8, 4),
    (2, 2, 197, 130),
)
NEAR_IDENTITY = 1e-5


def builds_at_any_width(subject: Subject) -> None:
    """Build at several widths, and run once at each."""
    for widths in WIDTHS:
        for setting in settings(subject, widths):
            stage = build(subject, setting)
            if setting.tower == "text" and stage.context_kind == "text":
                raise Found("it sits in the text tower and attends to the text context, which that tower makes")
            given = inputs(stage, setting, items=2)
            _returned(stage, given, f"in the {setting.tower} tower, of widths {_said(widths)}")


def keeps_the_shape(subject: Subject) -> None:
    """Run at several sizes, with and without a mask."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        for items, rows, length, context_length in SIZES:
            for masked in (True, False):
                given = inputs(stage, setting, items, rows, length, context_length, masked)
                said = f"with {items} items of {length} tokens"
                if given.context is not None:
                    said += f", {rows} context rows of {context_length} tokens, {'a' if masked else 'no'} mask"
                changed = _returned(stage, given, said)
                if changed.shape != given.tokens.shape:
                    raise Found(f"{said}, {_shape(given.tokens)} became {_shape(changed)}")
                if not changed.isfinite().all():
                    raise Found(f"{said}, the result is not finite")


def changes_nothing_in_place(subject: Subject) -> None:
    """Compare the arguments with copies, in evaluation and in training."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        for training in (False, True):
            given = inputs(stage, setting)
            before = inputs(stage, setting)
            result(stage.train(training), given)
            if not torch.equal(given.tokens, before.tokens):
                raise Found("the tokens that forward was given were changed")
            if given.context is not None and not torch.equal(given.seen.tokens, before.seen.tokens):
                raise Found("the tokens of the context were changed")
            if given.context is not None and not torch.equal(_mask(given), _mask(before)):
                raise Found("the mask of the context was changed")


def scale_0_is_identity(subject: Subject) -> None:
    """Build with `scale = 0`."""
    if "scale" not in subject.component.options.model_fields:
        raise NotApplicable("the options have no `scale`")
    try:
        subject.options(scale=0.0)
    except ValidationError:
        raise NotApplicable("the options refuse a scale of 0") from None
    for setting in settings(subject):
        stage = stirred(subject, setting, scale=0.0)
        given = inputs(stage, setting)
        if difference := beyond(result(stage, given), given.tokens, tolerance=NEAR_IDENTITY):
            raise Found(f"with scale = 0 the tokens changed by {difference:.2g}")


def _returned(stage: AttentionStage, given: Given, said: str) -> Tensor:
    try:
        changed = result(stage, given)
    except Exception as error:
        raise Found(f"{said}, forward raised {type(error).__name__}: {error}") from error
    if not isinstance(changed, Tensor):
        raise Found(f"{said}, forward returned {type(changed).__name__}")
    return changed


def _mask(given: Given) -> Tensor:
    assert given.seen.mask is not None
    return given.seen.mask


def _shape(tensor: Tensor) -> str:
    return str(list(tensor.shape))


def _said(widths: tuple[int, int, int]) -> str:
    return "{} (text), {} (vision) and {} (joint)".format(*widths)
