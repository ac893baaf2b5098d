"""Scores for people: a table for spreadsheets, the worst images, and how many are decided as what."""

import csv
import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final

from ..contracts.errors import table_cell
from ..files.whole_file import beside
from .results_folder import TABLE, Line, Results

COLUMNS: Final = (
    "path", "class", "score", "decision", "good_above", "threshold", "largest_map_value", "map_threshold",
    "region_count", "disagreement", "heatmap", "mask",
)  # fmt: skip
"""Those of the table, in their order: keys of a line."""

MOST_WORST: Final = 1000
"""Images that are remembered as the worst."""


@dataclass(frozen=True)
class Summary:
    """How many images are decided as what, of which decisions the mask says otherwise, and the worst, worst first."""

    decisions: Counter[str] = field(default_factory=Counter)
    disagreements: Counter[str] = field(default_factory=Counter)
    worst: list[Line] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Return how many images there are."""
        return self.decisions.total()


def write_table(results: Results) -> Summary:
    """Write `scores.csv` from the lines that are there, and sum them up, in one pass that holds the worst alone."""
    summary, part = Summary(), beside(results.folder / TABLE)
    with part.open("x", encoding="utf-8", newline="") as file:
        lines = _counted(_written(results.lines(), file), summary)
        summary.worst.extend(heapq.nlargest(MOST_WORST, lines, key=lambda line: line["score"]))
    part.replace(results.folder / TABLE)
    return summary


def _written(lines: Iterator[Line], file: IO[str]) -> Iterator[Line]:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for line in lines:
        writer.writerow(_cell(line.get(key)) for key in COLUMNS)
        yield line


def _counted(lines: Iterator[Line], summary: Summary) -> Iterator[Line]:
    for line in lines:
        decision = line["decision"] or "undecided"
        summary.decisions[decision] += 1
        summary.disagreements[decision] += bool(line["disagreement"])
        yield line


def _cell(value: Any) -> Any:
    return table_cell(value) if isinstance(value, str) else value
