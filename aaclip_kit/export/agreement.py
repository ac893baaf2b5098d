"""How an exported program agrees with the model in PyTorch: maps, scores and decisions of the same pictures."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32, UInt8

from ..contracts.errors import UserError

Runner = Callable[[np.ndarray, float], Sequence[np.ndarray]]
"""Runs a program on pictures `uint8 [B, H, W, 3]` and a threshold: maps `[B, S, S]`, scores `[B]`, decisions `[B]`."""

CLOSE: Final = 1e-3
"""Difference of a map's values or of scores, absolute and relative, that rounding makes in float32."""


@dataclass(frozen=True)
class Reference:
    """Pictures at the model's size, and what the model says of them in PyTorch."""

    squares: UInt8[np.ndarray, "B S S 3"]
    maps: Float32[np.ndarray, "B S S"]
    scores: Float32[np.ndarray, " B"]


@dataclass(frozen=True)
class Agreement:
    """Largest differences of a program from PyTorch, and decisions that flip; None where there is no threshold."""

    images: int
    largest_map_difference: float
    largest_score_difference: float
    decisions_that_flip: int | None
    median_from_threshold: float | None = None
    """How far the median of PyTorch's scores lies from the threshold."""

    @property
    def decides_otherwise(self) -> bool:
        """Whether scores differ by more than the median score is from the threshold."""
        distance = self.median_from_threshold
        return distance is not None and self.largest_score_difference > distance

    @property
    def in_words(self) -> str:
        """One line."""
        scores, maps = self.largest_score_difference, self.largest_map_difference
        flips = "no threshold" if self.decisions_that_flip is None else f"{self.decisions_that_flip} decisions flip"
        return f"{self.images} pictures: {flips}; largest difference {scores:.2g} of scores, {maps:.2g} of maps"


def compare(run: Runner, reference: Reference, threshold: float | None, *, exact: bool) -> Agreement:
    """Run a program on each picture, and on all of them as one batch, and compare.

    With `exact` raises `UserError` where a decision flips or a number differs by more than rounding; always where one
    is not finite.
    """
    at = 0.0 if threshold is None else threshold
    alone = [run(picture[None], at) for picture in reference.squares]
    maps, scores, decisions = (np.concatenate(parts) for parts in zip(*alone, strict=True))
    together = run(reference.squares, at)
    if not all(np.isfinite(part).all() for part in (maps, scores, *together[:2])):
        raise UserError("the exported program gives NaN or infinity", where="--precision", fix="export with fp32")
    wanted = reference.scores >= np.float32(at)
    flips = int((decisions != wanted).sum() + (together[2] != wanted).sum())
    found = Agreement(
        len(scores),
        _largest(reference.maps, maps, together[0]),
        _largest(reference.scores, scores, together[1]),
        None if threshold is None else flips,
        None if threshold is None else float(f"{abs(float(np.median(reference.scores)) - threshold):.3g}"),
    )
    close = all(
        np.allclose(one, of, rtol=CLOSE, atol=CLOSE)
        for of, ones in ((reference.maps, (maps, together[0])), (reference.scores, (scores, together[1])))
        for one in ones
    )
    if exact and (found.decisions_that_flip or not close):
        fix = "export with another --to, or run this model with aakit predict"
        raise UserError(f"the exported program disagrees with PyTorch on {found.in_words}", where="model", fix=fix)
    return found


def _largest(of: np.ndarray, *others: np.ndarray) -> float:
    return float(f"{max(float(np.abs(other - of).max()) for other in others):.3g}")


def drawn_pictures(count: int = 8) -> list[UInt8[np.ndarray, "H W 3"]]:
    """Pictures of several sizes for who gives none: gradients, stripes and spots with noise, always the same."""
    random, made = np.random.default_rng(0), []
    for number in range(count):
        height, width = 97 + 31 * number, 140 + 23 * (number % 4)
        y, x = np.mgrid[:height, :width] / max(height, width)
        base = 120 + 60 * np.sin(2 * np.pi * (3 + number) * (x + y * (number % 3)))
        spot = 90 * np.exp(-((x - random.random()) ** 2 + (y - random.random()) ** 2) / 0.004) * (number % 2)
        tint = random.uniform(0.6, 1.0, 3)
        picture = (base + spot)[..., None] * tint + random.normal(0, 9, (height, width, 3))
        made.append(picture.clip(0, 255).astype(np.uint8))
    return made
