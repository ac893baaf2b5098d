"""ROC curve, AUROC and average precision of counted scores; each is None where one of the labels does not occur."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from .histogram import Histogram


class Curve(NamedTuple):
    """Points of a curve from (0, 0) on: false positive rate and hit rate, both growing, one pair a threshold."""

    fpr: Float64[np.ndarray, " N"]
    hits: Float64[np.ndarray, " N"]

    def up_to(self, limit: float) -> Curve:
        """The part up to a false positive rate, the end interpolated linearly between the two points beside it."""
        inside = int(np.searchsorted(self.fpr, limit, side="right"))
        if inside == len(self.fpr):
            return self
        (x0, x1), (y0, y1) = self.fpr[inside - 1 : inside + 1], self.hits[inside - 1 : inside + 1]
        end = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
        return Curve(np.append(self.fpr[:inside], limit), np.append(self.hits[:inside], end))

    def area(self) -> float:
        """Area by the trapezoidal rule, which counts a tie of a positive and a negative one half."""
        return float(np.dot(np.diff(self.fpr), self.hits[1:] + self.hits[:-1]) / 2)

    def points(self, most: int = 200) -> list[list[float]]:
        """Up to `most` of the points as `[fpr, hits]`, first and last among them, spread evenly along the curve."""
        along = self.fpr / self.fpr[-1] + self.hits
        chosen = np.unique(np.searchsorted(along, np.linspace(0, along[-1], most)))
        return np.stack([self.fpr[chosen], self.hits[chosen]], axis=1).round(6).tolist()


def roc(scores: Histogram, weighted: bool = False) -> Curve | None:
    """Return true over false positive rate, a point for each bin; `weighted`: by the positives' weights."""
    if not scores.has_both_labels:
        return None
    negatives, *hits = scores.from_the_top()
    chosen = hits[weighted]
    return Curve(np.append(0.0, negatives / negatives[-1]), np.append(0.0, chosen / chosen[-1]))


def auroc(scores: Histogram) -> float | None:
    """Return the chance that a positive scores above a negative, ties counting one half."""
    curve = roc(scores)
    return None if curve is None else curve.area()


def average_precision(scores: Histogram) -> float | None:
    """Return the precision at each threshold, weighted with the recall that it adds; nothing is interpolated."""
    if not scores.has_both_labels:
        return None
    negatives, positives, _ = scores.from_the_top()
    gained = np.diff(positives, prepend=0.0)
    return float(np.dot(positives / (negatives + positives), gained) / positives[-1])
