"""What a threshold can promise that is chosen on normal images alone: exact statements about false alarms.

Of n scores, a threshold lies just above the k-th largest. Whatever the scores' distribution, the share of further
normal images above it is distributed as Beta(k, n - k + 1), of mean k / (n + 1), and how many of the next m are above
it as the beta-binomial of the same (David and Nagaraja, Order Statistics, 2003); where scores are equal, fewer are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

SURE: Final = 0.95
"""How often a stated interval holds at least."""

NEXT: Final = 100
"""Images of which it is said how many will be called anomalous."""

ROUNDING: Final = 1e-5
"""A score may differ by as much, as a share of it, where images are scored in other batches or on another machine."""


@dataclass(frozen=True)
class FalseAlarms:
    """A threshold just above the `rank`-th largest (from 1) of the scores of `images` normal images."""

    threshold: float
    images: int
    rank: int

    @property
    def expected(self) -> float:
        """Return the mean share of further normal images at or above the threshold."""
        return self.rank / (self.images + 1)

    @property
    def interval(self) -> tuple[float, float]:
        """Return the limits that the share of further normal images lies between, in `SURE` of all choices."""
        from scipy.stats import beta

        low, high = beta.ppf([(1 - SURE) / 2, (1 + SURE) / 2], self.rank, self.images - self.rank + 1)
        return float(low), float(high)

    @property
    def of_next(self) -> tuple[int, int]:
        """Return how few and how many of the next `NEXT` normal images: the shortest run that holds in `SURE`."""
        from scipy.stats import betabinom

        chances = betabinom.pmf(np.arange(NEXT + 1), NEXT, self.rank, self.images - self.rank + 1)
        upto = np.concatenate([[0.0], np.cumsum(chances)])
        runs = ((high - low, low, high) for low in range(NEXT + 1) for high in range(low, NEXT + 1))
        return min(run for run in runs if upto[run[2] + 1] - upto[run[1]] >= SURE)[1:]


def largest_rank(images: int, rate: float) -> int:
    """Return the rank of the lowest threshold whose expected rate is no larger; 0 where so few images have none."""
    return math.floor(rate * (images + 1) + 1e-9)


def at_rank(scores: Sequence[float], rank: int) -> FalseAlarms:
    """Put the threshold above the `rank`-th largest score, by more than rounding may change it."""
    value = sorted(scores)[-rank]
    return FalseAlarms(value + ROUNDING * max(1.0, abs(value)), len(scores), rank)


def images_needed(rate: float) -> int:
    """Return how many normal images a threshold needs whose expected rate is no larger."""
    return math.ceil(1 / rate - 1e-9) - 1


def standing_out(scores: Sequence[float]) -> list[int]:
    """Return the places of scores that are far out by Tukey's fence: three times the middle half's width above it."""
    first, third = np.quantile(np.asarray(scores), [0.25, 0.75])
    fence = third + 3 * (third - first)
    return [place for place in np.argsort(scores)[::-1].tolist() if scores[place] > fence]
