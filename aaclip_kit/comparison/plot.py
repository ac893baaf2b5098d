"""Differences drawn with their intervals, as SVG."""

import io
from collections.abc import Mapping
from typing import Final

from ..contracts.plain import plain, shortened
from .compare import Difference

_LONGEST: Final = 48
"""Characters of a name for which there is room beside a plot."""


def intervals_svg(differences: Mapping[str, Difference], baseline: str) -> str:
    """One row a run: the mean difference, its bootstrap interval, and each seed's difference as a dot."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "aaclip_kit", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(6.4, 0.9 + 0.42 * len(differences)), layout="constrained")
        axes = figure.add_subplot()
        for row, found in enumerate(differences.values()):
            if found.bootstrap:
                axes.plot(
                    [found.bootstrap.low, found.bootstrap.high], [row, row], color="#1f4e9c", linewidth=5, alpha=0.35
                )
            if found.mean is not None:
                axes.plot([found.mean], [row], "D", color="#1f4e9c", markersize=7, zorder=2.5)
            dots = [value for value in found.of_seed.values() if value is not None]
            axes.plot(dots, [row] * len(dots), "o", color="#1d1d1f", markersize=3, zorder=3)
        axes.axvline(0, color="#1d1d1f", linewidth=1)
        axes.set_ylim(len(differences) - 0.5, -0.5)
        # Folders name the runs, and a "$" in a name begins no formula.
        axes.set_xlabel(f"less {_label(baseline)}", parse_math=False)
        axes.set_yticks(range(len(differences)), list(map(_label, differences)), parse_math=False)
        axes.grid(axis="x", alpha=0.25)
        axes.spines[["top", "right", "left"]].set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _label(name: str) -> str:
    return shortened(plain(name), _LONGEST)
