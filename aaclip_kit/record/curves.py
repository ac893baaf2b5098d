"""Learning curves as SVG, drawn without pyplot's global state."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

_MOST_POINTS: Final = 300
_COLOURS: Final = "viridis"

Curve = list[tuple[int, float]]


def loss_curves(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, Curve]]:
    """Return phase -> loop -> (step, loss), steps counted through all loops of a phase.

    Steps whose loss is null (not finite) are counted and left out of the curve.
    """
    curves: dict[str, dict[int, Curve]] = {}
    counted: dict[str, int] = {}
    for event in events:
        if event.get("event") != "step":
            continue
        phase = str(event["phase"])
        counted[phase] = counted.get(phase, 0) + 1
        curve = curves.setdefault(phase, {}).setdefault(int(event["loop"]), [])
        if event.get("loss") is not None:
            curve.append((counted[phase], float(event["loss"])))
    return curves


def thinned(curve: Curve, most: int = _MOST_POINTS) -> Curve:
    """Means over equal stretches of a curve, `most` of them at most; a short curve comes back as it is."""
    if len(curve) <= most:
        return curve
    return [tuple(np.mean(part, axis=0).tolist()) for part in np.array_split(np.array(curve), most)]


def curves_svg(phase: str, loops: Mapping[int, Curve]) -> str:
    """Draw the loss of one phase as an `<svg>` element: one line a loop, in the order of training."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "aaclip_kit", "svg.fonttype": "none", "font.size": 11}):
        figure = Figure(figsize=(5.2, 3.1), layout="constrained")
        axes = figure.add_subplot()
        # The last tenth of the colour map is too pale for a line on white.
        colours = mpl.colormaps[_COLOURS](np.linspace(0, 0.8, max(2, len(loops))))
        for colour, (loop, curve) in zip(colours, sorted(loops.items()), strict=False):
            steps, losses = zip(*thinned(curve), strict=True) if curve else ((), ())
            axes.plot(steps, losses, color=colour, linewidth=1.4, label=f"loop {loop}")
        axes.set(title=f"{phase} phase", xlabel="step", ylabel="loss")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, ncols=2)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]
