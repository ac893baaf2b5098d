"""The tracker `csv`: a table that any program reads."""

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from aaclip_kit import Point, TrackedRun, Tracker

from . import CsvOptions
from .needed import check_folder, folder_of

FILE: Final = "scalars.csv"


class ToCsv(Tracker):
    """Lines `step,name,value` in the order in which they were measured; pictures beside them."""

    def __init__(self, options: CsvOptions) -> None:
        check_folder(options.folder)
        self.options = options

    def begin(self, run: TrackedRun) -> str:
        """Make the table; one that is there is gone on with."""
        self.folder = folder_of(run, self.options.folder)
        if run.earlier is None or not (self.folder / FILE).exists():
            (self.folder / FILE).write_text("step,name,value\n", encoding="utf-8")
            (self.folder / "experiment.toml").write_text(run.experiment, encoding="utf-8")
        return str(self.folder)

    def scalars(self, points: Sequence[Point]) -> None:
        """Add a line for each scalar."""
        with (self.folder / FILE).open("a", newline="", encoding="utf-8") as file:
            lines = ((point.step, _cell(name), value) for point in points for name, value in point.values.items())
            csv.writer(file, lineterminator="\n").writerows(lines)

    def picture(self, step: int, name: str, file: Path) -> None:
        """Copy the picture."""
        target = self.folder / f"{name}{file.suffix}"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)

    def end(self, finished: bool) -> None:
        """Nothing is open."""


def _cell(name: str) -> str:
    """A name that no program for tables takes for a formula."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
