"""The kinds of defect: how each one changes a clean picture of a surface."""

from __future__ import annotations

from collections.abc import Callable

from ..canvas import Canvas
from ..fields import Field, Generator
from .painted import chip, crack, fibre, hole, scratch, stain
from .relief import dent
from .structure import patch, smear, warp

Defect = Callable[[Generator, Canvas, Field, float], tuple[Field, Field]]
"""(rng, canvas, clean picture, strength about 1) -> picture with the defect [S, S, 3], region it may change [S, S]."""

DEFECTS: dict[str, Defect] = {
    "scratch": scratch,
    "crack": crack,
    "hole": hole,
    "stain": stain,
    "fibre": fibre,
    "chip": chip,
    "dent": dent,
    "warp": warp,
    "patch": patch,
    "smear": smear,
}

HIDDEN: dict[str, frozenset[str]] = {
    "regular": frozenset(),
    "random": frozenset({"warp", "patch"}),
    "even": frozenset({"warp", "patch", "smear"}),
}
"""Order of a surface -> the kinds that only disturb the texture and cannot show on it."""

__all__ = ["DEFECTS", "HIDDEN", "Defect"]
