"""What paired differences show: intervals, sign tests, and a verdict in words by one rule that is fixed beforehand.

Rows are seeds, columns are classes, NaN is undefined.
"""

from dataclasses import dataclass
from itertools import count
from typing import Final, Literal

import numpy as np
from jaxtyping import Float
from scipy import stats

Differences = Float[np.ndarray, "seeds classes"]

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 20_000
FEWEST_CLASSES: Final = 5
"""With fewer, classes are taken as given: two or three do not tell how classes vary."""
DECIMALS: Final = 4
"""Of every figure of a comparison that is printed."""


@dataclass(frozen=True)
class Interval:
    """Both ends of a 95 % interval."""

    low: float
    high: float

    @property
    def leaves_out_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0

    @property
    def decimals(self) -> int:
        """How many to print: as for other figures, or as many more as it takes for an end not to read as zero."""
        if not self.leaves_out_zero:
            return DECIMALS
        nearest = min(abs(self.low), abs(self.high))
        return next(digits for digits in count(DECIMALS) if round(nearest, digits))


@dataclass(frozen=True)
class Signs:
    """How many differences are above and below zero, and the two-sided exact binomial p of so uneven a split."""

    higher: int
    lower: int
    ties: int
    p: float

    @property
    def count(self) -> int:
        """How many differences are defined."""
        return self.higher + self.lower + self.ties


def mean_difference(differences: Differences) -> float | None:
    """Return the mean over the pairs that are defined; None where there is none."""
    return None if np.isnan(differences).all() else float(np.nanmean(differences))


def seed_means(differences: Differences) -> Float[np.ndarray, " defined"]:
    """Return the mean difference of each seed over its classes, without the seeds that have no defined pair."""
    defined = ~np.isnan(differences).all(axis=1)
    return np.asarray(np.nanmean(differences[defined], axis=1))


def resamples_classes(differences: Differences) -> bool:
    """Say whether there are enough defined classes to speak of others that these might have been."""
    return int((~np.isnan(differences).all(axis=0)).sum()) >= FEWEST_CLASSES


def cluster_bootstrap(differences: Differences, resamples: int = RESAMPLES, random_seed: int = 0) -> Interval | None:
    """Compute the bootstrap interval of the mean difference; None for fewer than two seeds.

    Each resample draws the seeds with replacement and, independently of them, the classes with replacement, and takes
    the mean over all cells where a drawn seed meets a drawn class (Owen, "The pigeonhole bootstrap", Annals of Applied
    Statistics 1, 2007). Cells of one seed share its weights and cells of one class its images, so that drawing the
    cells one by one would take them for independent and give an interval that is far too narrow. Fewer than
    `FEWEST_CLASSES` classes are not resampled: the interval then speaks of these classes.

    The tails are those of the expanded percentile interval, `Phi(-sqrt(n / (n - 1)) t_{n-1})` with n the smaller
    count of what is resampled (Hesterberg, "What Teachers Should Know About the Bootstrap", American Statistician 69,
    2015): plain percentiles of a handful of seeds are too narrow as well.
    """
    defined = differences[~np.isnan(differences).all(axis=1)][:, ~np.isnan(differences).all(axis=0)]
    seeds, classes = defined.shape
    if seeds < 2:
        return None
    random, both = np.random.default_rng(random_seed), resamples_classes(defined)
    drawn_seeds = _times_drawn(random, seeds, resamples)
    drawn_classes = _times_drawn(random, classes, resamples) if both else np.ones((resamples, classes))
    present = ~np.isnan(defined)
    sums = np.einsum("rs,sc,rc->r", drawn_seeds, np.where(present, defined, 0.0), drawn_classes, optimize=True)
    counts = np.einsum("rs,sc,rc->r", drawn_seeds, present.astype(float), drawn_classes, optimize=True)
    means = sums[counts > 0] / counts[counts > 0]
    smaller = min(seeds, classes) if both else seeds
    tail = float(stats.norm.cdf(-np.sqrt(smaller / (smaller - 1)) * _t_quantile(smaller - 1)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def t_interval(differences: Differences) -> Interval | None:
    """Make Student's interval of the seeds' mean differences, classes taken as given; None for fewer than two seeds."""
    means = seed_means(differences)
    if len(means) < 2:
        return None
    half = _t_quantile(len(means) - 1) * float(means.std(ddof=1)) / np.sqrt(len(means))
    return Interval(float(means.mean() - half), float(means.mean() + half))


def sign_test(values: Float[np.ndarray, "*n"]) -> Signs:
    """Make the exact two-sided sign test; ties and undefined values are left out of it."""
    higher, lower, ties = (int(chosen.sum()) for chosen in (values > 0, values < 0, values == 0))
    p = float(stats.binomtest(higher, higher + lower, 0.5).pvalue) if higher + lower else 1.0
    return Signs(higher, lower, ties, p)


def _times_drawn(random: np.random.Generator, count: int, resamples: int) -> Float[np.ndarray, "resamples count"]:
    return random.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)


def _t_quantile(freedom: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))


VerdictKind = Literal["shown", "shown on these classes", "not shown", "one seed", "undefined"]

RULE: Final = (
    "Differences are paired: the same seed, the same class, this run less the baseline. Two 95 % intervals are made. "
    "The bootstrap draws the seeds and, independently of them, the classes with replacement: pairs of one seed share "
    "weights and pairs of one class share images, so that they are not independent, and another study would have "
    f"other seeds and other classes. Fewer than {FEWEST_CLASSES} classes are taken as given. The t interval is over "
    "the seeds' means and takes the classes as given. A difference is shown where the interval that covers both leaves "
    "out zero and classes were drawn; it is shown on these classes where the t interval leaves out zero but the first "
    'condition fails; otherwise it is not shown. The column "95 %", the plot and the verdict give the interval that '
    "decided: the one that covers both for a difference that is shown, else the t interval. With one seed nothing can "
    "be said. Sign tests are exact binomial tests and decide nothing: that over seeds cannot fall below 2 to the power "
    "of 1 - n for n seeds, and that over pairs takes pairs for independent, so that its p is too small. Nothing is "
    "corrected for the number of comparisons on a page: of twenty differences that are none, about one will be called "
    "shown."
)


@dataclass(frozen=True)
class Verdict:
    """What may be said of a difference, as a word for scripts and in words; and the interval that decided it."""

    kind: VerdictKind
    text: str
    interval: Interval | None = None

    @property
    def decimals(self) -> int:
        """How many to print of the difference."""
        return DECIMALS if self.interval is None else self.interval.decimals


def judge(
    mean: float | None, *, bootstrap: Interval | None, over_seeds: Interval | None, drawn: bool, seeds: Signs
) -> Verdict:
    """Apply `RULE`. `drawn` says whether the bootstrap drew classes; `seeds` counts the seeds' mean differences."""
    if mean is None:
        return Verdict("undefined", "undefined: no pair has both values")
    if bootstrap is None or over_seeds is None:
        return Verdict("one seed", "one seed: nothing can be said")
    if not over_seeds.leaves_out_zero:
        return Verdict("not shown", "no difference shown at this number of seeds", over_seeds)
    side, agreeing = ("higher", seeds.higher) if mean > 0 else ("lower", seeds.lower)
    of = f"{agreeing} of {seeds.count} seeds"
    both = Interval(min(bootstrap.low, over_seeds.low), max(bootstrap.high, over_seeds.high))
    if drawn and both.leaves_out_zero:
        return Verdict("shown", f"{side} by {_span(both, mean)}, {of}", both)
    text = f"{side} by {_span(over_seeds, mean, ' on these classes')}, {of}; not shown beyond them"
    return Verdict("shown on these classes", text, over_seeds)


def _span(interval: Interval, mean: float, where: str = "") -> str:
    ends = (interval.low, interval.high) if mean > 0 else (-interval.high, -interval.low)
    size, low, high = (f"{value:.{interval.decimals}f}" for value in (abs(mean), *ends))
    return f"{size}{where} ({low} to {high})"
