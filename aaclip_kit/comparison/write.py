"""A comparison in words and pictures: rows of text for the screen, Markdown and HTML, plain data, and a plot as SVG."""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ..contracts.errors import MISSING, UserError, plain, shortened, writing
from ..evaluation.class_metrics import heading
from ..files.whole_file import write_whole_together
from ..report.figures import page_template
from .compare import Comparison, Difference, Summary
from .finished_runs import Cost
from .paired_statistics import DECIMALS, RULE, Interval, Signs

NAMES: Final = ("comparison.json", "comparison.md", "comparison.html")

HEADS: Final = (
    "run", "seeds", "mean ± sd", "difference", "95 %", "bootstrap 95 %", "t 95 %", "seeds higher", "pairs higher",
    "verdict",
)  # fmt: skip

COSTS: Final = "What a run took"
COST_HEADS: Final = ("run", "processor seconds", "memory at its peak, GB")
"""Medians over the seeds; the seconds of a process's threads are added up."""

_LONGEST: Final = 48
"""Characters of a name for which there is room beside a plot."""


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write `NAMES` into `folder`, which is made, over those of an earlier comparison.

    Raises `UserError` where that cannot be, or one of them is there without the JSON that an earlier one would have.
    """
    if not (folder / NAMES[0]).is_file() and (other := [name for name in NAMES if (folder / name).exists()]):
        problem = "is there already, and no earlier comparison"
        raise UserError(problem, where=str(folder / other[0]), fix="name another folder with --out")
    texts = (json_text(comparison), markdown(comparison), html(comparison))
    # The name of a folder may be in another encoding.
    encoded = (text.encode("utf-8", errors="backslashreplace") for text in texts)
    contents = dict(zip((folder / name for name in NAMES), encoded, strict=True))
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_whole_together(contents)
    return list(contents)


def json_text(comparison: Comparison) -> str:
    """Return the comparison as JSON."""
    return json.dumps(as_record(comparison), indent=2, allow_nan=False) + "\n"


def markdown(comparison: Comparison) -> str:
    """Return one Markdown table a metric, then notes and the rule."""
    tables = ((heading(metric), markdown_table(HEADS, rows(comparison, metric))) for metric in comparison.metrics)
    parts = [f"# {inert(title(comparison))}\n", *(f"## {head}\n\n{table}" for head, table in tables)]
    if costs := cost_rows(comparison):
        parts.append(f"## {COSTS}\n\n{markdown_table(COST_HEADS, costs)}")
    if comparison.notes:
        parts.append("".join(f"- {inert(note)}\n" for note in comparison.notes))
    return "\n".join([*parts, RULE + "\n"])


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose first column is text and whose others are numbers."""
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(map(inert, line))} |\n" for line in lines)


def inert(text: str) -> str:
    """Return text as Markdown shows it letter by letter: names of folders are no tags, links or cells."""
    return re.sub(r"([\\`*|\[\]]|<(?=[\w/!?])|&(?=[\w#]))", r"\\\1", plain(text))


def html(comparison: Comparison) -> str:
    """Return a page that needs nothing beside it."""
    return page_template(__package__).render(
        title=title(comparison), heads=_verdict_first(HEADS), class_heads=("class", *comparison.differences),
        sections=[_section(comparison, metric) for metric in comparison.metrics], notes=comparison.notes, rule=RULE,
        costs_title=COSTS, cost_heads=COST_HEADS, costs=cost_rows(comparison),
    )  # fmt: skip


def _section(comparison: Comparison, metric: str) -> dict[str, Any]:
    differences = {label: of_metric[metric] for label, of_metric in comparison.differences.items()}
    return {
        "name": heading(metric),
        "plot": intervals_svg(differences, comparison.baseline) if differences else "",
        "rows": [_verdict_first(row) for row in rows(comparison, metric)],
        "classes": class_rows(comparison, metric),
    }


def _verdict_first(row: tuple[str, ...]) -> tuple[str, ...]:
    """Put the last column beside the name, where a narrow screen shows it."""
    return (row[0], row[-1], *row[1:-1])


def intervals_svg(differences: Mapping[str, Difference], baseline: str) -> str:
    """Draw `intervals_plot` to stand within a page."""
    text = intervals_plot(differences, baseline, "svg").decode("utf-8")
    return text[text.index("<svg") :]


def intervals_plot(differences: Mapping[str, Difference], baseline: str, form: str) -> bytes:
    """Draw one row a run: the mean difference, the interval that decides, and each seed's difference as a dot.

    Returns a file of the form "svg" or "pdf", the same bytes for the same comparison.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "aaclip_kit", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(6.4, 0.9 + 0.42 * len(differences)), layout="constrained")
        axes = figure.add_subplot()
        for row, difference in enumerate(differences.values()):
            if interval := difference.verdict.interval:
                axes.plot([interval.low, interval.high], [row, row], color="#1f4e9c", linewidth=5, alpha=0.35)
            if difference.mean is not None:
                axes.plot([difference.mean], [row], "D", color="#1f4e9c", markersize=7, zorder=2.5)
            dots = [value for value in difference.of_seed.values() if value is not None]
            axes.plot(dots, [row] * len(dots), "o", color="#1d1d1f", markersize=3, zorder=3)
        axes.axvline(0, color="#1d1d1f", linewidth=1)
        axes.set_ylim(len(differences) - 0.5, -0.5)
        # Folders name the runs, and a "$" in a name begins no formula.
        axes.set_xlabel(f"less {_label(baseline)}", parse_math=False)
        axes.set_yticks(range(len(differences)), list(map(_label, differences)), parse_math=False)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        out = io.BytesIO()
        dated = "Date" if form == "svg" else "CreationDate"
        figure.savefig(out, format=form, metadata={dated: None}, transparent=True)
    return out.getvalue()


def _label(name: str) -> str:
    return shortened(plain(name), _LONGEST)


def rows(comparison: Comparison, metric: str) -> list[tuple[str, ...]]:
    """Return one row a run under `HEADS`: the baseline first, its other columns empty."""
    lines = []
    for label, group in comparison.groups.items():
        difference = comparison.differences.get(label, {}).get(metric)
        cells = _cells(difference) if difference else (*[""] * (len(HEADS) - 4), "baseline")
        lines.append((label, str(len(group.runs)), spread(comparison.summaries[label][metric]), *cells))
    return lines


def cost_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return one row a run under `COST_HEADS`; none where no run says what it took."""
    costs = {label: group.cost for label, group in comparison.groups.items()}
    if not any(costs.values()):
        return []
    return [(label, *cost_cells(cost)) for label, cost in costs.items()]


def cost_cells(cost: Cost | None) -> tuple[str, str]:
    """Put processor seconds and gigabytes in words."""
    return (MISSING, MISSING) if cost is None else (f"{cost.seconds:.0f}", f"{cost.peak_bytes / 1e9:.2f}")


def screen_table(comparison: Comparison, metric: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return heads and rows of the columns that fit a terminal of 80 characters."""
    shown = HEADS[:5]
    return shown, [row[: len(shown)] for row in rows(comparison, metric)]


def screen_verdicts(comparison: Comparison, metric: str) -> list[str]:
    """Say of each run but the baseline the verdict, and how the seeds' differences lie, with the sign test."""
    signs, verdict = HEADS.index("seeds higher"), HEADS.index("verdict")
    return [f"{row[0]}: {row[verdict]} (seeds higher: {row[signs]})" for row in rows(comparison, metric) if row[signs]]


def class_rows(comparison: Comparison, metric: str) -> list[tuple[str, ...]]:
    """Return the mean difference of each class: one row a class, one column a run but the baseline."""
    return [
        (name, *(signed(of_metric[metric].of_class[name]) for of_metric in comparison.differences.values()))
        for name in comparison.classes
    ]


def spread(summary: Summary) -> str:
    """Put mean and standard deviation over the seeds in words."""
    if summary.mean is None:
        return MISSING
    if summary.mean is None:
        return MISSING
    figures = (summary.mean, summary.deviation)
    return " ± ".join(f"{figure:.{DECIMALS}f}" for figure in figures if figure is not None)


def signed(value: float | None, decimals: int = DECIMALS) -> str:
    """Put a difference in words, with its sign, which one that is rounded to zero keeps."""
    return MISSING if value is None else f"{value + 0.0:+.{decimals}f}"


def span(interval: Interval | None) -> str:
    """Put an interval in words."""
    return MISSING if interval is None else " to ".join(ends(interval))


def ends(interval: Interval) -> tuple[str, str]:
    """Put both ends in words; no end of an interval that leaves out zero reads as zero."""
    return signed(interval.low, interval.decimals), signed(interval.high, interval.decimals)


def as_record(comparison: Comparison) -> dict[str, Any]:
    """Return the whole comparison as plain data, numbers at full precision."""
    loop = comparison.loop
    return {
        "baseline": comparison.baseline,
        "loop": "quoted" if loop is None else loop,
        "metrics": list(comparison.metrics),
        "classes": list(comparison.classes),
        "rule": RULE,
        "notes": list(comparison.notes),
        "runs": {
            label: {
                "folder": str(group.folder),
                "loops": {str(seed): run.at(loop) for seed, run in group.runs.items()},
                "cost": None if group.cost is None else asdict(group.cost),
                "metrics": {metric: asdict(summary) for metric, summary in comparison.summaries[label].items()},
            }
            for label, group in comparison.groups.items()
        },
        "differences": {
            label: {metric: asdict(difference) for metric, difference in metrics.items()}
            for label, metrics in comparison.differences.items()
        },
    }


def title(comparison: Comparison) -> str:
    """Say what is compared with what."""
    named = all(run.loop is not None for group in comparison.groups.values() for run in group.runs.values())
    when = "the quoted loop" if comparison.loop is None else f"loop {comparison.loop}"
    against = f"{', '.join(comparison.differences)} against " if comparison.differences else ""
    return f"{against}{comparison.baseline}" + ("" if named else f", {when}")


def _cells(difference: Difference) -> tuple[str, ...]:
    given = "" if difference.classes_drawn or difference.bootstrap is None else " (seeds alone)"
    left_out = f" ({difference.left_out} pairs undefined)" if difference.left_out else ""
    return (
        signed(difference.mean, difference.verdict.decimals), span(difference.verdict.interval),
        span(difference.bootstrap) + given, span(difference.over_seeds),
        _signs(difference.seed_signs), _signs(difference.pair_signs), difference.verdict.text + left_out,
    )  # fmt: skip


def _signs(signs: Signs) -> str:
    p = "p < 0.001" if signs.p < 0.001 else f"p {signs.p:.3f}"
    return f"{signs.higher} of {signs.count}, {p}"
