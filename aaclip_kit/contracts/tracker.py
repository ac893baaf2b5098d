"""The tracker contract: where the curves of a run go while it trains. No tensor and no torch here."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Setting = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """What a tracker is told of the run: its name and folder, and a folder for the tracker's own files.

    `experiment` is the resolved experiment as TOML text; `settings` has each of its values by its key, such as
    `stages.text_adapter.tower`, lists as text. `report` is where the report is once the run is finished. `earlier` is
    what `begin` gave when this run was tracked before, None where it was not.
    """

    name: str
    folder: Path
    files: Path
    experiment: str
    settings: Mapping[str, Setting]
    report: Path
    earlier: str | None = None


@dataclass(frozen=True)
class Point:
    """Scalars by name after `step` training steps, counted through all phases and loops; each is finite.

    Names have parts with slashes between them, such as `train/vision/loss` and `test/mean/pixel_auroc`.
    """

    step: int
    values: Mapping[str, float]


class Tracker(ABC):
    """Takes up what a run writes down, in a process of its own: it may be slow, raise or die, and the run goes on.

    Its factory opens nothing and writes nothing. It raises `UserError` where it could not work, such as for a package
    that is not installed, so that a run is refused before it begins. The four methods are called in this order;
    `scalars` and `picture` any number of times.
    """

    @abstractmethod
    def begin(self, run: TrackedRun) -> str | None:
        """Open a place for the run, or, with `run.earlier`, the same place again; return what it is found by.

        The resolved experiment and the link to the report are kept there.
        """

    @abstractmethod
    def scalars(self, points: Sequence[Point]) -> None:
        """Take these points, at least one, in the order of their steps; or raise, and then none of them counts."""

    @abstractmethod
    def picture(self, step: int, name: str, file: Path) -> None:
        """Take a picture, a PNG file, made after `step` training steps."""

    @abstractmethod
    def end(self, finished: bool) -> None:
        """Close the place; `finished` says whether the run came to its end, or was stopped and may go on later."""
