"""Items do not see one another: by value in evaluation, by gradient in training."""

from __future__ import annotations

import torch
from torch import Tensor

from ...contracts.stage import Context
from ..check import Found, NotApplicable
from ..subject import Subject
from .given import Given, beyond, direction, inputs, result, settings, stirred

NEAR = 1e-4
"""Products of other sizes add up in another order."""


def items_are_independent(subject: Subject) -> None:
    """Replace the other items and context rows, and leave them out."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        given, others = inputs(stage, setting), inputs(stage, setting, seed=20)
        first = result(stage, given)[0]
        changes = {
            "the tokens of the other items were replaced": _mixed(given, others, tokens=True),
            "the other items were left out": _only_first(given),
        }
        if given.context is not None:
            changes["the context rows of the other items were replaced"] = _mixed(given, others, tokens=False)
        for said, changed in changes.items():
            if difference := beyond(result(stage, changed)[0], first, tolerance=NEAR):
                raise Found(f"the result of item 0 changed by {difference:.2g} when {said}")


def gradients_stay_within_an_item(subject: Subject) -> None:
    """The gradient of an item's result at another item's tokens, and at other context rows, is exactly zero."""
    for setting in settings(subject):
        stage = stirred(subject, setting).train()
        given = inputs(stage, setting)
        sources = [given.tokens.requires_grad_()]
        if given.context is not None:
            sources.append(given.seen.tokens.requires_grad_())
        changed = stage(given.tokens, given.context)
        weights = direction(changed)
        for item in range(len(changed)):
            (changed[item] * weights[item]).sum().backward(retain_graph=True)
            for source, name in zip(sources, ("tokens of item", "context row"), strict=False):
                own = item * len(source) // len(changed)
                if leaks := [row for row in _reached(source) if row != own]:
                    raise Found(f"the result of item {item} has a gradient at {name} {leaks[0]}")
                source.grad = None


def text_tokens_look_at_no_later_ones(subject: Subject) -> None:
    """Cut the last tokens off, in the text tower."""
    setting = next((found for found in settings(subject) if found.tower == "text"), None)
    if setting is None:
        raise NotApplicable("the stage does not sit in the text tower")
    stage = stirred(subject, setting)
    given = inputs(stage, setting)
    cut = Given(given.tokens[:, :3], given.context)
    if difference := beyond(result(stage, cut), result(stage, given)[:, :3], tolerance=NEAR):
        raise Found(f"the first 3 tokens changed by {difference:.2g} when the 4 tokens after them were cut off")


def _reached(source: Tensor) -> list[int]:
    return [] if source.grad is None else [row for row, part in enumerate(source.grad) if part.any()]


def _mixed(given: Given, others: Given, tokens: bool) -> Given:
    """Item 0 (or its context row) of `given`, and the others of `others`."""
    if tokens:
        return Given(torch.cat([given.tokens[:1], others.tokens[1:]]), given.context)
    return given.with_context(torch.cat([given.seen.tokens[:1], others.seen.tokens[1:]]))


def _only_first(given: Given) -> Given:
    if given.context is None:
        return Given(given.tokens[:1], None)
    mask = given.seen.mask
    return Given(given.tokens[:1], Context(given.seen.tokens[:1], None if mask is None else mask[:1]))
