"""What a loss asks for, and what it returns."""

from __future__ import annotations

from torch import Tensor

from ..check import Found
from ..subject import Subject
from .given import Named, batch, build, phases, terms

NEAR = 1e-5


def needs_what_is_made(subject: Subject) -> None:
    """Some phase can use it, and nothing in it would have to be trained."""
    loss = build(subject)
    if own := [name for name, _ in loss.named_parameters()]:
        raise Found(f"it has parameters, which no phase trains: {', '.join(own)}")
    if not phases(loss):
        raise Found(f"no phase both makes and trains what it needs: {', '.join(loss.needs)}")


def gives_scalar_terms(subject: Subject) -> None:
    """Named tensors without dimensions."""
    found = terms(build(subject), batch())
    if not isinstance(found, dict) or not found:
        raise Found(
            f"forward returned {found if isinstance(found, dict) else type(found).__name__}, not a dict of terms"
        )
    for name, value in found.items():
        if not isinstance(name, str):
            raise Found(f"a term is named {name!r}, which is no text")
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise Found(f"term '{name}' is {type(value).__name__}, not a floating-point tensor")
        if value.dim():
            raise Found(f"term '{name}' has shape {list(value.shape)}")


def mean_where_it_says_so(subject: Subject) -> None:
    """A batch of five images against parts of two and three of them, as two processes would share it."""
    loss = build(subject)
    if loss.over_batch == "joint":
        return
    if loss.over_batch != "mean":
        raise Found(f"its `over_batch` is {loss.over_batch!r}, neither 'mean' nor 'joint'")
    named = _unequal(batch(images=5))
    whole, parts = terms(loss, named), [terms(loss, _rows(named, rows)) for rows in (slice(0, 2), slice(2, 5))]
    for name, value in whole.items():
        mean = 0.4 * float(parts[0][name]) + 0.6 * float(parts[1][name])
        if abs(mean - float(value)) > NEAR * (1 + abs(mean)):
            raise Found(f"term '{name}' of five images is {float(value):.6g}, and the mean of its parts {mean:.6g}")


def _unequal(named: Named) -> Named:
    """The same batch, its first two images predicted otherwise: parts that are alike would hide what is no mean."""
    for value in named["level_probabilities"].values():
        value[:2, 1] *= 0.1
        value[:2, 0] = 1 - value[:2, 1]
    named["detection_logits"][:2] *= 4
    named["text_features"][:2, :, 1] = named["text_features"][:2, :, 0]
    return named


def _rows(named: Named, rows: slice) -> Named:
    maps = {level: value[rows] for level, value in named["level_probabilities"].items()}
    others = {name: value[rows] for name, value in named.items() if name != "level_probabilities"}
    return {"level_probabilities": maps, **others}
