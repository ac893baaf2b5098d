"""Items do not see one another, but share context rows and obey the mask: by value, and by gradient in training."""

from dataclasses import replace
from operator import itemgetter

import torch
from torch import Tensor

from ..subject import Breach, NotApplicable, Subject
from . import Given, call, direction, inputs, must_agree, result, settings, stirred, stirred_with_inputs

NEAR = 1e-4
"""Products of other sizes add up in another order."""


def items_are_independent(subject: Subject) -> None:
    """Replace the other items and context rows, and leave them out."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        given, others = inputs(stage, setting), inputs(stage, setting, seed=20)
        first = result(stage, given)[0]
        replaced = torch.cat([given.tokens[:1], others.tokens[1:]])
        changes = {
            "the tokens of the other items were replaced": replace(given, tokens=replaced),
            "the other items were left out": given.each(itemgetter(slice(1))),
        }
        if given.context is not None:
            rows = torch.cat([given.seen.tokens[:1], others.seen.tokens[1:]])
            elsewhere = replace(given, context=replace(given.seen, tokens=rows))
            changes["the context rows of the other items were replaced"] = elsewhere
        for said, changed in changes.items():
            must_agree(result(stage, changed)[0], first, f"when {said}, the result of item 0 changed", tolerance=NEAR)


def gradients_stay_within_an_item(subject: Subject) -> None:
    """The gradient of an item's result at another item's tokens, and at other context rows, is exactly zero."""
    for stage, given in stirred_with_inputs(subject):
        sources = [given.tokens.requires_grad_()]
        if given.context is not None:
            sources.append(given.seen.tokens.requires_grad_())
        changed = call(stage.train(), given)
        weights = direction(changed)
        for item in range(len(changed)):
            (changed[item] * weights[item]).sum().backward(retain_graph=True)
            for source, name in zip(sources, ("tokens of item", "context row"), strict=False):
                own = item * len(source) // len(changed)
                if leaks := [row for row in _reached(source) if row != own]:
                    raise Breach(f"the result of item {item} has a gradient at {name} {leaks[0]}")
                source.grad = None


def text_tokens_look_at_no_later_ones(subject: Subject) -> None:
    """Cut the last tokens off, in the text tower."""
    setting = next((setting for setting in settings(subject) if setting.tower == "text"), None)
    if setting is None:
        raise NotApplicable("the stage does not sit in the text tower")
    stage = stirred(subject, setting)
    given = inputs(stage, setting)
    cut = Given(given.tokens[:, :3], given.context)
    said = "when the 4 tokens after them were cut off, the first 3 tokens changed"
    must_agree(result(stage, cut), result(stage, given)[:, :3], said, tolerance=NEAR)


def _reached(source: Tensor) -> list[int]:
    return [] if source.grad is None else [row for row, part in enumerate(source.grad) if part.any()]


def rows_serve_items_in_a_row(subject: Subject) -> None:
    """Six items on two rows, against the same rows copied."""
    for setting in settings(subject):
        stage = stirred(subject, setting)
        given = inputs(stage, setting, items=6)
        copied = replace(given, context=given.seen.expanded(6))
        said = "6 items on 2 shared rows and on 6 copies of them differ"
        must_agree(result(stage, given), result(stage, copied), said, tolerance=NEAR)
        if stage.reads_row_of:
            mixed = replace(given.seen, row_of=torch.tensor([1, 0, 0, 1, 1, 0]))
            named, copied = replace(given, context=mixed), replace(given, context=mixed.expanded(6))
            said = "6 items with rows 1, 0, 0, 1, 1, 0 by row_of and on copies differ"
            must_agree(result(stage, named), result(stage, copied), said, tolerance=NEAR)


def mask_is_obeyed(subject: Subject) -> None:
    """Replace what is masked; mask nothing."""
    for stage, given in stirred_with_inputs(subject):
        seen, plain = given.seen, result(stage, given)
        if seen.mask is None:
            raise NotApplicable("a class embedding is one token, which nothing masks")
        replaced = torch.where(seen.mask[..., None], seen.tokens, 7 - 10 * seen.tokens)
        said = "when context tokens behind the mask were replaced, the result changed"
        hidden = replace(given, context=replace(seen, tokens=replaced))
        must_agree(plain, result(stage, hidden), said, tolerance=NEAR)
        everywhere = replace(given, context=replace(seen, mask=torch.ones_like(seen.mask)))
        without = replace(given, context=replace(seen, mask=None))
        said = "a mask that is true everywhere and no mask differ"
        must_agree(result(stage, everywhere), result(stage, without), said, tolerance=NEAR)
