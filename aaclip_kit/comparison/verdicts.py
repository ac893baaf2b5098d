"""From intervals to words, by one rule that is fixed beforehand and printed with every comparison."""

from dataclasses import dataclass
from typing import Final, Literal

from .paired_statistics import FEWEST_CLASSES, Interval, Signs

Kind = Literal["shown", "shown on these classes", "not shown", "one seed", "undefined"]

RULE: Final = (
    "Differences are paired: the same seed, the same class, this run less the baseline. Two 95 % intervals are made. "
    "The bootstrap draws the seeds and, independently of them, the classes with replacement: pairs of one seed share "
    "weights and pairs of one class share images, so that they are not independent, and another study would have "
    f"other seeds and other classes. Fewer than {FEWEST_CLASSES} classes are taken as given. The t interval is over "
    "the seeds' means and takes the classes as given. A difference is shown where both leave out zero and classes were "
    "drawn; it is shown on these classes where the t interval leaves out zero but the first condition fails; otherwise "
    "it is not shown. With one seed nothing can be said. Sign tests are exact binomial tests and decide nothing: that "
    "over seeds cannot fall below 2 to the power of 1 - n for n seeds, and that over pairs takes pairs for "
    "independent, so that its p is too small. Nothing is corrected for the number of comparisons on a page: of twenty "
    "differences that are none, about one will be called shown."
)


@dataclass(frozen=True)
class Verdict:
    """What may be said of a difference, as a word for scripts and in words."""

    kind: Kind
    text: str


def judge(
    mean: float | None, bootstrap: Interval | None, over_seeds: Interval | None, drawn: bool, seeds: Signs
) -> Verdict:
    """Apply `RULE`. `drawn` says whether the bootstrap drew classes; `seeds` counts the seeds' mean differences."""
    if mean is None:
        return Verdict("undefined", "undefined: no pair has both values")
    if bootstrap is None or over_seeds is None:
        return Verdict("one seed", "one seed: nothing can be said")
    count = seeds.higher + seeds.lower + seeds.ties
    if not over_seeds.leaves_out_zero:
        return Verdict("not shown", "no difference shown at this number of seeds")
    side, agreeing = ("higher", seeds.higher) if mean > 0 else ("lower", seeds.lower)
    by = f"{side} by {abs(mean):.4f}"
    of = f"{agreeing} of {count} seeds"
    if drawn and bootstrap.leaves_out_zero:
        return Verdict("shown", f"{by} ({_span(bootstrap, mean)}), {of}")
    return Verdict(
        "shown on these classes", f"{by} on these classes ({_span(over_seeds, mean)}), {of}; not shown beyond them"
    )


def _span(interval: Interval, mean: float) -> str:
    ends = (interval.low, interval.high) if mean > 0 else (-interval.high, -interval.low)
    return f"{ends[0]:.4f} to {ends[1]:.4f}"
