"""Half precision."""

from __future__ import annotations

import torch

from ..check import Found
from ..subject import Subject
from .given import Named, batch, build, terms

TOLERANCE = 0.05


def takes_bf16(subject: Subject) -> None:
    """Under autocast, with predictions in bfloat16 and targets as they are."""
    loss = build(subject)
    exact = terms(loss, batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = terms(loss, _half(batch()))
    for name, value in rough.items():
        if not value.isfinite():
            raise Found(f"term '{name}' is not finite")
        error = abs(float(value) - float(exact[name]))
        if error > TOLERANCE * max(abs(float(exact[name])), TOLERANCE):
            raise Found(f"term '{name}' is {float(value):.4g}, in float32 {float(exact[name]):.4g}")


def _half(named: Named) -> Named:
    maps = {level: value.bfloat16() for level, value in named["level_probabilities"].items()}
    others = {name: named[name].bfloat16() for name in ("text_features", "detection_logits")}
    return {**named, **others, "level_probabilities": maps}
