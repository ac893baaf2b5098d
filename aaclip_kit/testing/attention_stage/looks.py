"""Where a stage says that it looks."""

from __future__ import annotations

import torch

from ...contracts.stage import AttentionStage, ShowsAttention
from ..check import Found, NotApplicable
from ..subject import Subject
from .given import Given, beyond, inputs, needs_context, result, settings, stirred

NEAR = 1e-4


def attention_weights_are_weights(subject: Subject) -> None:
    """Shared rows and a mask; in training mode, under two seeds."""
    needs_context(subject)
    for setting in settings(subject):
        stage = stirred(subject, setting)
        if not isinstance(stage, ShowsAttention):
            raise NotApplicable("the stage has no attention_weights")
        for items, masked in ((6, True), (2, False)):
            _check_weights(stage, inputs(stage, setting, items=items, masked=masked))
        given = inputs(stage, setting)
        before = result(stage, given)
        one, two = (_weights(stage.train(), given, seed) for seed in (1, 2))
        if beyond(one, two, tolerance=NEAR):
            raise Found("the weights depend on the torch seed in training mode, as dropout makes them")
        if beyond(result(stage.eval(), given), before, tolerance=NEAR):
            raise Found("forward gives another result after attention_weights was called")


def _check_weights(stage: AttentionStage, given: Given) -> None:
    weights, seen = _weights(stage, given, seed=0), given.seen.expanded(len(given.tokens))
    items, length, many = len(given.tokens), given.tokens.shape[1], seen.tokens.shape[1]
    if weights.dim() != 4 or weights.shape != (items, weights.shape[1], length, many):
        expected = f"[{items}, heads, {length}, {many}]"
        raise Found(f"the weights have shape {list(weights.shape)} in place of {expected}")
    if not weights.isfinite().all() or (weights < 0).any():
        raise Found("some weights are negative or not finite")
    if beyond(weights.sum(dim=-1), torch.ones(weights.shape[:-1]), tolerance=NEAR):
        raise Found("the weights of a query do not sum to 1 over the context tokens")
    if seen.mask is not None and (weights * ~seen.mask[:, None, None]).any():
        raise Found("a context token behind the mask has a weight")


def _weights(stage: AttentionStage, given: Given, seed: int) -> torch.Tensor:
    assert isinstance(stage, ShowsAttention)
    torch.manual_seed(seed)
    with torch.no_grad():
        return stage.attention_weights(given.tokens, given.seen)
