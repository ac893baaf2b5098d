"""A plugin file of trackers that each break one promise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aaclip_kit import Options, Tracker, hookimpl


class GoodOptions(Options):
    """Points as lines of JSON."""


class Undocumented(Options):
    pass


class Good(Tracker):
    """Keeps every promise; the others differ from it in one."""

    def __init__(self, options: Any) -> None:
        self.options = options

    def begin(self, run: Any) -> Any:
        self.file = run.files / "points.jsonl" if run.earlier is None else Path(run.earlier)
        return str(self.file)

    def scalars(self, points: Any) -> None:
        with self.file.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps([point.step, dict(point.values)]) + "\n" for point in points)

    def picture(self, step: int, name: str, file: Path) -> None:
        assert file.is_file()

    def end(self, finished: bool) -> None:
        pass


class NoTracker:
    def __init__(self, options: Any) -> None:
        pass


class WritesAtOnce(Good):
    def __init__(self, options: Any) -> None:
        Path("curves.txt").write_text("here")


class GivesANumber(Good):
    def begin(self, run: Any) -> Any:
        super().begin(run)
        return 7


class TakesNoPicture(Good):
    def picture(self, step: int, name: str, file: Path) -> None:
        raise NotImplementedError


class BeginsAnew(Good):
    def begin(self, run: Any) -> Any:
        if run.earlier is not None:
            raise FileExistsError(run.earlier)
        return super().begin(run)


class AnotherPlace(Good):
    def begin(self, run: Any) -> Any:
        super().begin(run)
        return f"{run.files}{'' if run.earlier is None else '-2'}"


class AsciiNames(Good):
    def scalars(self, points: Any) -> None:
        for point in points:
            assert all(name.isascii() for name in point.values)
        super().scalars(points)


class IntoTheRun(Good):
    def end(self, finished: bool) -> None:
        (self.file.parents[1] / "curves.jsonl").write_bytes(self.file.read_bytes())


class FewScalars(Good):
    def scalars(self, points: Any) -> None:
        if any(len(point.values) > 3 for point in points):
            raise OverflowError("more than three at once")
        super().scalars(points)


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "T1"),
    "no_tracker": (NoTracker, GoodOptions, "T2"),
    "writes_at_once": (WritesAtOnce, GoodOptions, "T2"),
    "gives_a_number": (GivesANumber, GoodOptions, "T3"),
    "takes_no_picture": (TakesNoPicture, GoodOptions, "T3"),
    "begins_anew": (BeginsAnew, GoodOptions, "T4"),
    "another_place": (AnotherPlace, GoodOptions, "T4"),
    "ascii_names": (AsciiNames, GoodOptions, "T5"),
    "into_the_run": (IntoTheRun, GoodOptions, "T6"),
    "few_scalars": (FewScalars, GoodOptions, "T7"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_trackers(register: Any) -> None:
    register("good", Good, GoodOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
