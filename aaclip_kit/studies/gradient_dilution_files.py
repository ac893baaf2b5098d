"""What `aakit gradients` leaves: its numbers, their plot, and the experiment that was measured."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..contracts.errors import not_writable
from ..files.whole_file import write_whole_folder
from ..record.run_folder import EXPERIMENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes


NUMBERS: Final = "gradients.json"
PLOT: Final = "gradients.svg"

REPORTED: Final = {1.0: 0.37, 0.1: 0.96}
"""Scale to the ratio reported for the image adapters, from unpaired runs (method: section 4)."""

_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
_MARKERS: Final = ("o", "s", "^", "D")
"""Four of the colours of Okabe and Ito, which colour-blind readers can tell apart; each has a marker of its own."""

Measured = Mapping[str, Any]


def write_dilution(folder: Path, record: Mapping[str, Any], experiment: str) -> None:
    """Write numbers, plot and experiment (TOML text) into a new folder, which is whole or absent.

    Raises `UserError` where it cannot be written.
    """
    texts = {
        NUMBERS: json.dumps(record, indent=1, allow_nan=False) + "\n",
        PLOT: dilution_svg(record),
        EXPERIMENT: experiment,
    }
    try:
        write_whole_folder(folder, {PurePosixPath(name): text.encode("utf-8") for name, text in texts.items()})
    except OSError as error:
        raise not_writable(folder, error) from error


def dilution_svg(record: Mapping[str, Any]) -> str:
    """Draw ratio against scale as an `<svg>` document: a panel for each subject, a line for each other setting."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    panels: dict[tuple[str, ...], list[Measured]] = {}
    for found in record["measured"]:
        panels.setdefault((found["tower"], *found["stages"]), []).append(found)
    with mpl.rc_context({"svg.hashsalt": "aaclip_kit", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(5.4 * len(panels), 4.2), layout="constrained")
        for place, ((tower, *stages), rows) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), place)
            axes.set_title(f"{' + '.join(stages)}, {tower} tower")
            _draw(axes, rows, tower)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _draw(axes: Axes, rows: Sequence[Measured], tower: str) -> None:
    axes.axhline(1.0, color="0.4", linewidth=1)
    lines: dict[str, list[Measured]] = {}
    for row in rows:
        if row["ratio"]["all"]["value"] is not None:
            lines.setdefault(_label(row), []).append(row)
    for number, (label, line) in enumerate(lines.items()):
        colour, marker = _COLOURS[number % 4], _MARKERS[number % 4]
        line = sorted(line, key=lambda row: row["scale"] or 0.0)
        places = [_place(row, number, len(lines)) for row in line]
        ratios = [row["ratio"]["all"] for row in line]
        values = [one["value"] for one in ratios]
        axes.errorbar(places, values, _reach(ratios), label=label, color=colour, marker=marker, capsize=3)
    if tower == "vision":
        axes.plot(*zip(*REPORTED.items(), strict=True), "k*", markersize=11, label="reported, unpaired runs")
    if all(row["scale"] is None or row["scale"] > 0 for row in rows):
        axes.set_xscale("log")
    axes.set(xlabel="scale", ylabel="adapters' gradient norm, on / off")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def _place(row: Measured, number: int, lines: int) -> float:
    """The scale, moved a little so that intervals of several lines lie side by side; 1 for a stage without one."""
    scale = 1.0 if row["scale"] is None else float(row["scale"])
    return scale * 1.06 ** (number - (lines - 1) / 2)


def _label(row: Measured) -> str:
    parts = [] if row["scale"] is not None else ["as in the file (no scale)"]
    if row["norm_matched"] is not None:
        parts.append("norm-matched" if row["norm_matched"] else "not norm-matched")
    if row["text_context"] is not None:
        parts.append(f"{row['text_context']} context")
    return ", ".join(parts) or "by scale"


def _reach(ratios: Sequence[Measured]) -> list[list[float]]:
    """How far each interval reaches below and above its value; 0 where there is none."""
    below = [0.0 if one["low"] is None else max(0.0, one["value"] - one["low"]) for one in ratios]
    above = [0.0 if one["high"] is None else max(0.0, one["high"] - one["value"]) for one in ratios]
    return [below, above]
