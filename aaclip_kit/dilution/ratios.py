"""Paired ratios of gradient norms, with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Ratio:
    """Geometric mean of on / off over all pairs, its 95 % interval, and the same of each initialisation.

    None where it is not defined: an "off" of 0, a value that is not finite, and the interval of a single pair.
    """

    value: float | None
    low: float | None
    high: float | None
    by_init: tuple[float | None, ...]


def paired_ratio(on: Float[np.ndarray, "inits batches"], off: Float[np.ndarray, "inits batches"]) -> Ratio:
    """The ratio of two measurements of the same batches with the same weights.

    The geometric mean, since it does not matter to it which of the two is the denominator. The interval resamples
    clusters: initialisations with replacement, then the batches of each (Davison and Hinkley, Bootstrap Methods,
    1997, section 3.8); with few initialisations it is too narrow rather than too wide.
    """
    inits = len(on)
    if not (np.isfinite(on).all() and np.isfinite(off).all() and (off > 0).all()):
        return Ratio(None, None, None, (None,) * inits)
    with np.errstate(divide="ignore"):  # a gradient of 0 is a ratio of 0
        logs = np.log(on / off)
    by_init = tuple(np.exp(logs.mean(axis=1)).tolist())
    value = float(np.exp(logs.mean()))
    if logs.size < 2:
        return Ratio(value, None, None, by_init)
    means = np.exp(logs[_resampled(*logs.shape)].mean(axis=(1, 2)))
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return Ratio(value, low, high, by_init)


def _resampled(inits: int, batches: int) -> tuple[Int[np.ndarray, "R inits 1"], Int[np.ndarray, "R inits batches"]]:
    """Indices of every resample; the same for every ratio, so that intervals of one table belong together."""
    random = np.random.default_rng(0)
    chosen = random.integers(inits, size=(RESAMPLES, inits, 1))
    return chosen, random.integers(batches, size=(RESAMPLES, inits, batches))
