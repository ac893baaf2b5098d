"""F1-max and thresholds of counted scores: that of the largest F1, that at a false positive rate, and the rates of one.

A score at or above a threshold counts as positive. A threshold lies half-way between the lowest score that counts and
the next one below, in float64: a score that is made again, in another batch, may differ in its last bits, and stays on
its side.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from .histogram import Histogram


def f1_max(scores: Histogram) -> float | None:
    """Return the largest F1 that a threshold reaches; None where one of the labels does not occur."""
    f1 = _f1_scores(scores)
    return None if f1 is None else float(f1.max())


def f1_max_threshold(scores: Histogram) -> float | None:
    """Return the threshold of the largest F1, the highest one where several reach it; None as for `f1_max`."""
    f1 = _f1_scores(scores)
    return None if f1 is None else scores.threshold(len(f1) - 1 - int(f1.argmax()))


def threshold_at_fpr(scores: Histogram, fpr: float) -> float | None:
    """Return the lowest threshold with at most this share of the negatives at or above it; None without negatives.

    Where even the highest bin holds more of them, the threshold lies above that bin.
    """
    if not scores.negatives:
        return None
    negatives = scores.from_the_top()[0]
    allowed = int(np.searchsorted(negatives / negatives[-1], fpr, side="right"))
    return scores.threshold(len(negatives) - allowed)


def rates_at(scores: Histogram, threshold: float) -> tuple[float | None, float | None]:
    """Return the false positive rate and F1 of a threshold; each None where it is undefined."""
    above = scores.edges().astype(np.float64) >= threshold
    negatives, positives, _ = (float(row[above].sum()) for row in scores.sums())
    fpr = negatives / scores.negatives if scores.negatives else None
    return fpr, 2 * positives / (negatives + positives + scores.positives) if scores.positives else None


def _f1_scores(scores: Histogram) -> Float64[np.ndarray, " N"] | None:
    """F1 of each bin's lower edge as the threshold, the highest bin first."""
    if not scores.has_both_labels:
        return None
    negatives, positives, _ = scores.from_the_top()
    return 2 * positives / (negatives + positives + positives[-1])
