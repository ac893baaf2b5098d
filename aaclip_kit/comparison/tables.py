"""A comparison as rows of text, the same for the screen, Markdown and HTML; and as plain data."""

from dataclasses import asdict
from typing import Any, Final

from .compare import Comparison, Difference, Summary
from .paired_statistics import Interval, Signs
from .verdicts import RULE

HEADS: Final = (
    "run", "seeds", "mean ± sd", "difference", "95 %, seeds and classes", "95 %, seeds", "seeds higher", "pairs higher",
    "verdict",
)  # fmt: skip


def rows(comparison: Comparison, metric: str) -> list[tuple[str, ...]]:
    """One row a run under `HEADS`: the baseline first, its other columns empty."""
    found = []
    for label, group in comparison.groups.items():
        difference = comparison.differences.get(label, {}).get(metric)
        cells = _cells(difference) if difference else ("", "", "", "", "", "baseline")
        found.append((label, str(len(group.runs)), spread(comparison.summaries[label][metric]), *cells))
    return found


def screen_table(comparison: Comparison, metric: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows of the columns that fit a terminal of 80 characters."""
    kept = [HEADS.index(head) for head in ("run", "seeds", "mean ± sd", "difference", "95 %, seeds and classes")]
    chosen = [tuple(row[column] for column in kept) for row in rows(comparison, metric)]
    return tuple(HEADS[column] for column in kept), chosen


def screen_verdicts(comparison: Comparison, metric: str) -> list[str]:
    """A line for each run but the baseline: the verdict, and how the seeds' differences lie, with the sign test."""
    signs, verdict = HEADS.index("seeds higher"), HEADS.index("verdict")
    return [f"{row[0]}: {row[verdict]} (seeds higher: {row[signs]})" for row in rows(comparison, metric) if row[signs]]


def class_rows(comparison: Comparison, metric: str) -> list[tuple[str, ...]]:
    """Mean difference of each class: one row a class, one column a run under `class_heads`."""
    return [
        (name, *(signed(found[metric].of_class[name]) for found in comparison.differences.values()))
        for name in comparison.classes
    ]


def class_heads(comparison: Comparison) -> tuple[str, ...]:
    """Head of `class_rows`."""
    return ("class", *comparison.differences)


def spread(summary: Summary) -> str:
    """Mean and standard deviation over the seeds."""
    if summary.mean is None:
        return "-"
    return f"{summary.mean:.4f}" + ("" if summary.deviation is None else f" ± {summary.deviation:.4f}")


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return "-" if value is None else f"{round(value, 4) + 0.0:+.4f}"


def span(interval: Interval | None) -> str:
    """An interval in words."""
    return "-" if interval is None else f"{signed(interval.low)} to {signed(interval.high)}"


def as_record(comparison: Comparison) -> dict[str, Any]:
    """The whole comparison as plain data, numbers at full precision."""
    return {
        "baseline": comparison.baseline,
        "loop": "quoted" if comparison.loop is None else comparison.loop,
        "metrics": list(comparison.metrics),
        "classes": list(comparison.classes),
        "rule": RULE,
        "notes": list(comparison.notes),
        "runs": {
            label: {
                "folder": str(group.folder),
                "loops": {str(seed): run.quoted_loop for seed, run in group.runs.items()}
                if comparison.loop is None
                else dict.fromkeys(map(str, group.runs), comparison.loop),
                "metrics": {metric: asdict(found) for metric, found in comparison.summaries[label].items()},
            }
            for label, group in comparison.groups.items()
        },
        "differences": {
            label: {metric: asdict(found) for metric, found in metrics.items()}
            for label, metrics in comparison.differences.items()
        },
    }


def title(comparison: Comparison) -> str:
    """What is compared with what."""
    when = "the quoted loop" if comparison.loop is None else f"loop {comparison.loop}"
    against = f"{', '.join(comparison.differences)} against " if comparison.differences else ""
    return f"{against}{comparison.baseline}, {when}"


def _cells(found: Difference) -> tuple[str, ...]:
    left_out = f" ({found.left_out} pairs undefined)" if found.left_out else ""
    return (
        signed(found.mean), span(found.bootstrap) if found.classes_drawn else _given(found.bootstrap),
        span(found.over_seeds), _signs(found.seed_signs), _signs(found.pair_signs), found.verdict.text + left_out,
    )  # fmt: skip


def _given(interval: Interval | None) -> str:
    return "-" if interval is None else f"{span(interval)} (seeds alone)"


def _signs(found: Signs) -> str:
    p = "p < 0.001" if found.p < 0.001 else f"p {found.p:.3f}"
    return f"{found.higher} of {found.higher + found.lower + found.ties}, {p}"
