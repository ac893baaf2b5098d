"""Half precision."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.linalg import vector_norm

from ...contracts.stage import Context, StageSetting
from ..check import Found
from ..subject import Subject
from .given import inputs, result, settings, stirred

TOLERANCE = 0.05
"""Bfloat16 keeps 8 bits: one rounding is 0.4 %, and a stage has several."""


def bf16_is_near(subject: Subject) -> None:
    """Compare autocast with float32; the context has been made under autocast, the tokens' stream is in float32."""
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for setting in settings(subject):
            _compare(subject, setting, device)


def _compare(subject: Subject, setting: StageSetting, device: str) -> None:
    stage = stirred(subject, setting).to(device)
    given = inputs(stage, setting).to(device)
    exact, half = result(stage, given), given
    if given.context is not None:
        half = replace(given, context=Context(given.seen.tokens.bfloat16(), given.seen.mask))
    with torch.autocast(device, dtype=torch.bfloat16):
        rough = result(stage, half)
    if not rough.isfinite().all():
        raise Found("the result under bf16 autocast is not finite")
    error = float(vector_norm(rough.float() - exact) / vector_norm(exact))
    if error > TOLERANCE:
        raise Found(f"under bf16 autocast the result is off by {100 * error:.1f} % of its norm")
