"""The page of `aakit shots`: for each class its curves, and the numbers below them."""

from collections.abc import Mapping
from typing import Any, Final

from ..contracts.errors import in_short
from ..evaluation.class_metrics import METRICS, heading
from ..report.figures import COLOURS, INK, Axes, Figure, Line, line_figure, page_template
from .shots_record import HEADS, INTERVAL, Curve, cell, curves, rows

DRAWN: Final = ("pixel_auroc", "image_auroc", "pixel_aupro")


def page(record: Mapping[str, Any]) -> str:
    """Return a page that needs nothing beside it."""
    seeds = record["seeds"]
    drawn = f"{len(seeds)} draws, by seeds {in_short(seeds)}" if len(seeds) > 1 else f"one draw, by seed {seeds[0]}"
    return page_template(__package__).render(
        title=f"{record['experiment']}: from a few normal images", drawn=drawn, interval=INTERVAL,
        notes=record["notes"], heads=HEADS, checkpoint=record["checkpoint"],
        sections=[_section(name, curve) for name, curve in curves(record).items()],
    )  # fmt: skip


def _section(name: str, curve: Curve) -> dict[str, Any]:
    figures = [figure for metric in DRAWN if (figure := _figure(name, curve, metric))]
    tables = [(heading(metric), rows(curve, metric)) for metric in METRICS if _is_defined(curve, metric)]
    return {"name": name, "figures": figures, "tables": tables}


def _is_defined(curve: Curve, metric: str) -> bool:
    return any(one[metric]["mean"] is not None for kinds in curve.values() for one in kinds.values())


def _figure(name: str, curve: Curve, metric: str) -> Figure | None:
    """The metric against the number of images, whose places are evenly apart."""
    if not _is_defined(curve, metric):
        return None
    places = {number: float(place) for place, number in enumerate(curve)}
    lines = [
        _line(words, curve, metric, kind, places, colour=colour, dash=dash)
        for words, kind, colour, dash in (
            ("memory alone", "memory", COLOURS[1], "dashed"), ("both", "both", COLOURS[0], "solid"),
        )
    ]  # fmt: skip
    if "0" in curve and (level := curve["0"]["zero_shot"][metric]["mean"]) is not None:
        lines.insert(0, Line("zero-shot", [(0.0, level), (len(places) - 1.0, level)], INK, dash="dotted"))
    said = "; ".join(f"{number}: {cell(kinds['both'][metric])}" for number, kinds in curve.items() if "both" in kinds)
    alt = f"{heading(metric)} of {name} against the number of references. Both together, {said}"
    axes = Axes("references", heading(metric), places=tuple(map(int, places)))
    return line_figure(heading(metric), alt, lines, axes)


def _line(
    name: str, curve: Curve, metric: str, kind: str, places: Mapping[str, float], *, colour: str, dash: str
) -> Line:
    spreads = {places[number]: kinds[kind][metric] for number, kinds in curve.items() if kind in kinds}
    points = [(place, one["mean"]) for place, one in spreads.items() if one["mean"] is not None]
    band = [(place, one["low"], one["high"]) for place, one in spreads.items() if one["low"] is not None]
    return Line(name, points, colour, dash=dash, band=band, dots=True)
