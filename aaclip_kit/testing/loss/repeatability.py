"""The same twice, and inputs that stay as they are."""

from __future__ import annotations

import torch
from torch import Tensor

from ..check import Found
from ..subject import Subject
from .given import Named, batch, build, terms

NEAR = 1e-5


def changes_nothing_in_place(subject: Subject) -> None:
    """Compare every input with a copy."""
    loss, named = build(subject), batch()
    terms(loss, named)
    before = _flat(batch())
    for name, value in _flat(named).items():
        if not torch.equal(value, before[name]):
            raise Found(f"{name} was changed")


def same_inputs_same_terms(subject: Subject) -> None:
    """Three calls, under three seeds."""
    loss, found = build(subject), []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        found.append({name: float(value) for name, value in terms(loss, batch()).items()})
    for later in found[1:]:
        if later.keys() != found[0].keys():
            raise Found(f"the terms were {', '.join(found[0])}, and then {', '.join(later)}")
        for name, value in later.items():
            if abs(value - found[0][name]) > NEAR * (1 + abs(value)):
                raise Found(f"term '{name}' was {found[0][name]:.6g}, and then {value:.6g}")


def _flat(named: Named) -> dict[str, Tensor]:
    maps = {f"level_probabilities[{level}]": value for level, value in named["level_probabilities"].items()}
    return {**maps, **{name: value for name, value in named.items() if name != "level_probabilities"}}
