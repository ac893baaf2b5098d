"""Where each stage looks: on the image as an overlay, on the prompts as bars by word."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..record.examples_file import ExamplesFile
from ..record.heatmap import coloured, enlarged
from .examples_section import SIDE, Panel, mask_panel, picture_of, ranked_examples, reason_of, title_of
from .figures import Budget
from .run_files import RunFiles

MOST_WORDS: Final = 12
_OVERLAY: Final = 0.62


@dataclass(frozen=True)
class Bar:
    """A word, and the attention that each group of patches gives it, as text and as a part of the longest bar."""

    word: str
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a stage does with one example: overlays of the image, or bars of prompts and words, 1 being at `even`."""

    title: str
    panels: tuple[Panel, ...]
    groups: tuple[str, ...] = ()
    states: tuple[Bar, ...] = ()
    bars: tuple[Bar, ...] = ()
    even: float = 0.0
    left_out: int = 0


@dataclass(frozen=True, kw_only=True)
class StageView:
    """A stage after one block: what looks at what, its examples, or why there are none; `scale` of the overlays."""

    name: str
    text: str
    reason: str | None
    looks: tuple[Look, ...]
    scale: tuple[str, str] | None


def section(run: RunFiles, budget: Budget) -> dict[str, Any]:
    """What `attention.html` shows; `stages` is None where the run has not recorded where it looks."""
    if run.attention is None or run.examples is None:
        return {"stages": None, "idle": []}
    stages = [_stage(entry, run.examples, budget) for entry in run.attention["stages"]]
    return {"stages": stages, "idle": _idle(run.experiment), "bar": _bar(budget)}


def _stage(entry: Mapping[str, Any], file: ExamplesFile, budget: Budget) -> StageView:
    name = f"{entry['stage']}, after block {entry['block']} of the {entry['tower']} tower"
    queries = "End-of-text tokens of the prompts" if entry["tower"] == "text" else "Patches of the image"
    looked_at = "the patches of the image" if entry["context"] == "image" else "the words of the prompts"
    grids = [np.array(look["grid"]) for case in entry["cases"] for look in case["looks"].values() if "grid" in look]
    scale = (float(np.min(grids)), float(np.max(grids))) if grids else None
    order = {place: rank for rank, (place, _) in enumerate(ranked_examples(file))}
    examples = sorted(entry["cases"], key=lambda case: order[case["case"]])
    looks = tuple(_look(case, file, scale, budget) for case in examples)
    ends = (f"{scale[0]:.2f}", f"{scale[1]:.2f}") if scale else None
    text = f"{queries} look at {looked_at}."
    return StageView(name=name, text=text, reason=entry["reason"], looks=looks, scale=ends)


def _look(case: Mapping[str, Any], file: ExamplesFile, scale: tuple[float, float] | None, budget: Budget) -> Look:
    place, looks = case["case"], case["looks"]
    outline = mask_panel(file, place, budget)
    title = f"{reason_of(file.examples[place])}: {title_of(file.examples[place])}"
    if scale is not None:
        grey = np.asarray(picture_of(file, place).convert("L"), np.float32)[..., None]
        grids = ((group, np.array(look["grid"], np.float32)) for group, look in looks.items())
        overlays = (_overlay(grey, group, grid, scale=scale, budget=budget) for group, grid in grids)
        return Look(title=title, panels=(outline, *overlays))
    words = {group: look["words"] for group, look in looks.items()}
    longest = max(1.0, *(weight for of in words.values() for weight in of.values()))
    states = word_bars({group: look["states"] for group, look in looks.items()}, longest)
    bars = word_bars(words, longest)
    return Look(
        title=title, panels=(outline,), groups=tuple(words), states=states, bars=bars[:MOST_WORDS],
        even=1 / longest, left_out=max(0, len(bars) - MOST_WORDS),
    )  # fmt: skip


def word_bars(groups: Mapping[str, Mapping[str, float]], longest: float) -> tuple[Bar, ...]:
    """Words by what the first group gives them, the most first."""
    first = next(iter(groups.values()))
    return tuple(
        Bar(word, tuple((f"{of[word]:.2f}", of[word] / longest) for of in groups.values()))
        for word in sorted(first, key=lambda word: -first[word])
    )


def _overlay(grey: np.ndarray, group: str, grid: np.ndarray, *, scale: tuple[float, float], budget: Budget) -> Panel:
    mixed = (1 - _OVERLAY) * grey + _OVERLAY * coloured(enlarged(grid, SIDE), scale)
    row, column = np.unravel_index(int(grid.argmax()), grid.shape)
    most = f"the most, {grid.max():.2f}, in row {row + 1}, column {column + 1} of {len(grid)}"
    alt = f"Attention of the {group}: the least {grid.min():.2f}, {most}"
    return Panel(group, budget.embed(alt, mixed.astype(np.uint8)))


def _bar(budget: Budget) -> Any:
    values = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(12, axis=0)
    return budget.embed("Colour scale of the attention, dark for little and bright for much", coloured(values, (0, 1)))


def _idle(experiment: Mapping[str, Any]) -> list[str]:
    """Towers whose stages with a context do not act while images are scored."""
    idle = []
    if (experiment.get("evaluation") or {}).get("text_conditioning") == "none":
        idle.append('Stages of the text tower act in training only (evaluation.text_conditioning = "none").')
    if (experiment.get("switches") or {}).get("evaluation_attention") is False:
        idle.append("Stages of the vision tower act in training only (switches.evaluation_attention = false).")
    return idle
