"""Context rows that several items share, and the mask."""

from __future__ import annotations

from dataclasses import replace

import torch

from ...contracts.stage import Context
from ..check import Found
from ..subject import Subject
from .given import beyond, inputs, needs_context, result, settings, stirred

NEAR = 1e-4


def rows_serve_items_in_a_row(subject: Subject) -> None:
    """Six items on two rows, against the same rows copied."""
    needs_context(subject)
    for setting in settings(subject):
        stage = stirred(subject, setting)
        given = inputs(stage, setting, items=6)
        copied = replace(given, context=given.seen.expanded(6))
        if difference := beyond(result(stage, given), result(stage, copied), tolerance=NEAR):
            raise Found(f"6 items on 2 shared rows and on 6 copies of them differ by {difference:.2g}")
        if stage.reads_row_of:
            mixed = replace(given.seen, row_of=torch.tensor([1, 0, 0, 1, 1, 0]))
            named, copied = replace(given, context=mixed), replace(given, context=mixed.expanded(6))
            if difference := beyond(result(stage, named), result(stage, copied), tolerance=NEAR):
                raise Found(f"6 items with rows 1, 0, 0, 1, 1, 0 by row_of and on copies differ by {difference:.2g}")


def mask_is_obeyed(subject: Subject) -> None:
    """Replace what is masked; mask nothing."""
    needs_context(subject)
    for setting in settings(subject):
        stage = stirred(subject, setting)
        given = inputs(stage, setting)
        seen = given.seen
        assert seen.mask is not None
        replaced = torch.where(seen.mask[..., None], seen.tokens, 7 - 10 * seen.tokens)
        if difference := beyond(result(stage, given), result(stage, given.with_context(replaced)), tolerance=NEAR):
            raise Found(f"the result changed by {difference:.2g} when context tokens behind the mask were replaced")
        everywhere = given.with_context(mask=torch.ones_like(seen.mask))
        without = replace(given, context=Context(seen.tokens))
        if difference := beyond(result(stage, everywhere), result(stage, without), tolerance=NEAR):
            raise Found(f"a mask that is true everywhere and no mask differ by {difference:.2g}")
