"""Examples: test images as image, mask and two maps, ranked and evenly chosen ones; of a few, every loop's map."""

from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Any, Final

import numpy as np
from PIL import Image

from ..record.examples_file import Example, ExamplesFile
from ..record.heatmap import coloured, enlarged, outlined
from .figures import Budget, Picture, embedded_pictures
from .run_files import RunFiles, named

SIDE: Final = 192
"""Side of a panel in pixels."""

MOST_LOOPS: Final = 4
"""Loops that are shown side by side; of more the first, the last, the quoted one and those between."""

RANKS: Final = ("best", "median", "worst")
SCALE_STEPS: Final = 256


@dataclass(frozen=True)
class Panel:
    """One picture of an example with the words under it; without a picture the words stand in its place."""

    caption: str
    picture: Picture | None
    detail: str = ""


@dataclass(frozen=True)
class ExampleRow:
    """A example: why it is shown, what it is, and its pictures."""

    reason: str
    title: str
    panels: tuple[Panel, ...]


def section(run: RunFiles, budget: Budget) -> dict[str, Any]:
    """What `first.html`, `examples.html` and `every_loop.html` show.

    Of an older run, whose folder has no examples, the heatmap pictures as they are.
    """
    if run.examples is None:
        pictures, left_out = embedded_pictures(run.heatmaps, budget.left)
        return {"first": [], "rows": None, "pictures": pictures, "left_out": left_out, "every": []}
    file = run.examples
    ends = first_and_quoted(file.loops, run.reported_loop)
    row = partial(_row, file, loops=ends, budget=budget)
    # The ranked examples are few, and the first to have room in the file.
    ranked = ranked_examples(file)
    first = [pair for pair in ranked if pair[1].label] or ranked
    others = ranked[len(first) :]
    shown = {
        name: [row(place, reason=reason_of(example)) for place, example in pairs]
        for name, pairs in (("first", first), ("ranked", others))
    }
    even = [place for place, example in enumerate(file.examples) if "even" in example.chosen]
    rows = [row(place) for place in takewhile(lambda _: budget.left > 0, even)]
    loops = shown_loops(file.loops, run.reported_loop)
    every = [_every_loop(file, place, loops, budget) for place, _ in first] if len(file.loops) > len(ends) else []
    return {
        **shown,
        "rows": rows,
        "left_out": len(even) - len(rows),
        "rule": file.rule,
        "scale": _scale(file, budget),
        "every": every,
        "loops": len(loops),
        "all_loops": len(file.loops),
    }


def first_and_quoted(loops: tuple[int, ...], quoted: int | None) -> list[int]:
    """Places of the two loops whose maps stand beside each other: the first, and the quoted one or else the last."""
    return sorted({0, loops.index(quoted) if quoted in loops else len(loops) - 1})


def shown_loops(loops: tuple[int, ...], quoted: int | None, most: int = MOST_LOOPS) -> list[int]:
    """Places of the loops that are shown: all where they are few, else evenly spread with the quoted one among them."""
    if len(loops) <= most:
        return list(range(len(loops)))
    chosen = set(np.linspace(0, len(loops) - 1, most).round().astype(int).tolist())
    if quoted in loops and loops.index(quoted) not in chosen:
        nearest = min(chosen - {0, len(loops) - 1}, key=lambda place: abs(place - loops.index(quoted)))
        chosen = chosen - {nearest} | {loops.index(quoted)}
    return sorted(chosen)


def title_of(example: Example) -> str:
    """What the image is."""
    kind = example.defect or ("anomalous" if example.label else "normal")
    return f"{example.class_name}, {kind}, {example.image}"


def reason_of(example: Example) -> str:
    """What the ranking made of a example, such as "best anomalous image"."""
    return f"{' and '.join(_ranks(example))} {'anomalous' if example.label else 'normal'} image"


def picture_of(file: ExamplesFile, place: int) -> Image.Image:
    """The image at the size of a panel."""
    return Image.fromarray(file.pictures[place]).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def mask_panel(file: ExamplesFile, place: int, budget: Budget) -> Panel:
    """The image with the outline of its mask, where it has one and that is known."""
    example = file.examples[place]
    if not (example.label and example.masked):
        return Panel("mask not known" if example.label else "normal", None)
    pixels = outlined(picture_of(file, place), file.masks[place])
    return Panel("mask", budget.embed(f"Outline of the mask: {title_of(example)}", np.asarray(pixels)))


def ranked_examples(file: ExamplesFile) -> list[tuple[int, Example]]:
    """Anomalous examples before normal ones, each from best to worst."""
    ranked = [(place, example) for place, example in enumerate(file.examples) if _ranks(example)]
    return sorted(ranked, key=lambda pair: (-pair[1].label, RANKS.index(_ranks(pair[1])[0])))


def _ranks(example: Example) -> list[str]:
    """What the ranking made of an example; of a class with few images one may be several things at once."""
    return [reason.split()[0] for reason in example.chosen if reason != "even"]


def _row(file: ExamplesFile, place: int, *, loops: list[int], budget: Budget, reason: str = "") -> ExampleRow:
    example = file.examples[place]
    image = Panel("image", budget.embed(f"Image: {title_of(example)}", np.asarray(picture_of(file, place))))
    maps = (_map_panel(file, place, loop, budget) for loop in loops)
    return ExampleRow(reason, title_of(example), (image, mask_panel(file, place, budget), *maps))


def _every_loop(file: ExamplesFile, place: int, loops: list[int], budget: Budget) -> ExampleRow:
    """The maps alone, of several loops."""
    maps = tuple(_map_panel(file, place, loop, budget) for loop in loops)
    return ExampleRow("", title_of(file.examples[place]), maps)


def _map_panel(file: ExamplesFile, place: int, loop: int, budget: Budget) -> Panel:
    example, name = file.examples[place], named(file.loops[loop])
    quality = example.quality[loop]
    figures = f"score\u00a0{example.scores[loop]:.3f}" + (f", AP\u00a0{quality:.2f}" if quality is not None else "")
    pixels = coloured(enlarged(file.grids[place, loop], SIDE), file.scale)
    return Panel(name, budget.embed(f"Anomaly map of {name}: {title_of(example)}; {figures}", pixels), figures)


def _scale(file: ExamplesFile, budget: Budget) -> dict[str, Any]:
    low, high = file.scale
    bar = coloured(np.linspace(low, high, SCALE_STEPS, dtype=np.float32)[None].repeat(12, axis=0), file.scale)
    alt = f"Colour scale of the anomaly maps from {low:.3g}, dark, to {high:.3g}, bright"
    return {"low": f"normal, {low:.3g}", "high": f"{high:.3g}, anomalous", "bar": budget.embed(alt, bar)}
