"""A run's events handed to a tracker, from where it stands to the last: the one way, live and afterwards."""

import faulthandler
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from ..contracts.errors import UserError, in_short
from ..contracts.tracker import Point, Setting, TrackedRun, Tracker
from ..experiment import read_toml
from ..experiment.resolved import by_key
from ..files.plain_file import read_text
from ..plugin_host.registry import Component
from ..record.run_folder import EVENTS, EXPERIMENT, HEATMAPS, REPORT, as_written, is_finished
from .place import Place, Sent
from .points import EventLines, StepCount

AT_ONCE: Final = 200
"""Events that a tracker is handed together."""

Result = TypeVar("Result")


def check_run(folder: Path) -> None:
    """Raise `UserError` for a folder without a run, or without events."""
    if not (folder / EXPERIMENT).is_file():
        problem = f"holds no run ({EXPERIMENT} is missing)" if folder.is_dir() else "there is no such folder"
        raise UserError(problem, where=str(folder), fix="name the folder of a run, such as runs/NAME-TIME")
    if not (folder / EVENTS).is_file() or not (folder / EVENTS).stat().st_size:
        raise UserError(f"the run has no events ({EVENTS})", where=str(folder), fix="name a run that has begun")


class Delivery:
    """One tracker's way through a run: begun once, then handed what is new, call after call, and ended.

    Of each event it is written down that it was sent before it is sent: one that a dying process was handing over
    is not sent twice. Where a tracker raises, what it was handed counts as not sent.
    """

    def __init__(self, folder: Path, component: Component, tracker: Tracker, place: Place, *, patience: float = 0):
        """A method of the tracker that takes more than `patience` seconds ends the process; 0 waits for ever."""
        self.folder, self.component, self.tracker, self.place = folder, component, tracker, place
        self.patience = patience
        self.sent: Sent = place.sent
        self._lines, self._count, self._begun = EventLines(folder), StepCount(), False

    def is_complete(self) -> bool:
        """Say whether the tracker has everything of a finished run."""
        return self.sent.finished and is_finished(self.folder)

    def begin(self) -> None:
        """Open the tracker's place for the run. Raises `UserError` as the tracker does, or for what it raises."""
        with as_written(self.folder):
            text = read_text(self.folder / EXPERIMENT)
            settings = {key: _setting(value) for key, value in by_key(read_toml(self.folder / EXPERIMENT)).items()}
        run = TrackedRun(
            name=_name(self.folder),
            folder=self.folder.resolve(),
            files=self.place.path.resolve(),
            experiment=text,
            settings=settings,
            report=self.folder.resolve() / REPORT,
            earlier=self.sent.id,
        )
        self.sent.id = self._ask("begin", lambda: self.tracker.begin(run))
        self.sent.problem, self._begun = None, True
        self.place.write(self.sent)

    def events(self) -> int:
        """Hand over the events that are new, and return how many lines there were. Raises `UserError` as `begin`."""
        before, points = self._lines.number, list[Point]()
        for event in self._lines.new():
            point = self._count.point(event)
            if self._lines.number <= self.sent.events:
                continue
            points += [point] if point else []
            if self._lines.number - self.sent.events >= AT_ONCE:
                self._hand_over(points)
                points = []
        self._hand_over(points)
        return self._lines.number - before

    def _hand_over(self, points: list[Point]) -> None:
        earlier = self.sent.events
        self._advance(events=max(earlier, self._lines.number))
        if points:
            with self._taken_back(events=earlier):
                self._ask("scalars", lambda: self.tracker.scalars(points))

    def end(self) -> None:
        """Hand over the pictures of a run that is finished, and close the place. Raises `UserError` as `begin`."""
        finished = is_finished(self.folder)
        pictures = sorted((self.folder / HEATMAPS).glob("*.png")) if finished else []
        for number, picture in enumerate(pictures[self.sent.pictures :], start=self.sent.pictures + 1):
            self._advance(pictures=number)
            with self._taken_back(pictures=number - 1):
                self._picture(picture)
        self._ask("end", lambda: self.tracker.end(finished))
        self._advance(finished=finished)

    def _picture(self, file: Path) -> None:
        self._ask("picture", lambda: self.tracker.picture(self._count.steps, f"heatmaps/{file.stem}", file.resolve()))

    def _advance(self, **changes: Any) -> None:
        before = vars(self.sent).copy()
        vars(self.sent).update(changes)
        if vars(self.sent) != before:
            self.place.write(self.sent)

    @contextmanager
    def _taken_back(self, **changes: Any) -> Iterator[None]:
        """Where the tracker raises, what it was handed counts as not sent."""
        try:
            yield
        except Exception:
            self._advance(**changes)
            raise

    def _ask(self, method: str, call: Callable[[], Result]) -> Result:
        if self.patience:
            # Not a thread of Python's: one that hangs may hold the interpreter's lock.
            faulthandler.dump_traceback_later(self.patience, exit=True)
        try:
            return call()
        except UserError:
            raise
        except Exception as error:
            name = self.component.name
            problem = f"tracker '{name}' raised {type(error).__name__} in `{method}`: {in_short([error])}"
            fix = f"see its options (aakit show {name}) and whether what it sends to answers; what is sent is kept"
            raise UserError(problem, where=str(self.folder), fix=fix) from error
        finally:
            if self.patience:
                faulthandler.cancel_dump_traceback_later()


def _name(folder: Path) -> str:
    """The folder's name; of a run among several, such as `seed_3`, with that of the folder around it."""
    path = folder.resolve()
    return "/".join(path.parts[-2:]) if path.name.startswith("seed_") else path.name


def _setting(value: Any) -> Setting:
    return value if isinstance(value, str | int | float | bool) else str(value)
