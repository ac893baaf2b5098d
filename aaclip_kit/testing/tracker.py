"""The checks of a tracker: a run of four points in a folder of its own, and a real run that it follows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from ..contracts.tracker import Point, TrackedRun, Tracker
from ..experiment.check import check_tracker_table
from ..plugin_host.discovery import discover
from ..record.run_folder import EXPERIMENT, REPORT
from ..tracking.place import Place, table_of
from .subject import Breach, Subject
from .trial import run_tiny

POINTS = (
    Point(0, {"test/mean/pixel_auroc": 0.5}),
    Point(1, {"train/text/loss": 1.25, "train/text/rate": 1e-3}),
    Point(2, {"train/text/loss": 1.0}),
    Point(2, {"test/mean/pixel_auroc": 0.75}),
)
MORE = (Point(3, {"train/vision/loss": 0.5}),)
ODD = (
    Point(4, {"test/classes/Größe \u4e1d #2 (ä)/pixel_auroc": 0.5, "=1+1": 1e-300, "a" * 100: -1e300}),
    Point(5, {"scales/gate.0.weight": 0.0}),
)


class Trial:
    """A folder that looks like a run's, and the tracker's own in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder / "run", folder / "run" / "own"
        self.files.mkdir(parents=True)
        (self.folder / EXPERIMENT).write_text('name = "trial"\nseed = 1\n', encoding="utf-8")
        (self.folder / "heatmaps").mkdir()
        self.picture = self.folder / "heatmaps" / "00_part.png"
        Image.new("RGB", (6, 4), "red").save(self.picture)

    def told(self, earlier: str | None = None) -> TrackedRun:
        """What `begin` is told."""
        return TrackedRun(
            name="trial", folder=self.folder, files=self.files, experiment='name = "trial"\nseed = 1\n',
            settings={"name": "trial", "seed": 1}, report=self.folder / REPORT, earlier=earlier,
        )  # fmt: skip

    def foreign(self) -> dict[str, bytes]:
        """What lies in the run's folder and is not the tracker's."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and self.files not in path.parents)
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}


@contextmanager
def _trial(subject: Subject) -> Iterator[tuple[Tracker, Trial]]:
    with TemporaryDirectory(prefix="aakit-") as name:
        yield subject.make(Tracker), Trial(Path(name))


def _begun(tracker: Tracker, run: TrackedRun) -> str | None:
    found: Any = tracker.begin(run)
    if not (found is None or isinstance(found, str)):
        raise Breach(f"begin gave {type(found).__name__}, which is neither a text nor None")
    return found


def opens_nothing(subject: Subject) -> None:
    """Build it in an empty folder."""
    before = Path.cwd()
    with TemporaryDirectory(prefix="aakit-") as name:
        os.chdir(name)
        try:
            subject.make(Tracker)
            found = sorted(path.name for path in Path(name).iterdir())
        finally:
            os.chdir(before)
    if found:
        raise Breach(f"the factory wrote {', '.join(found)}")


def takes_a_run(subject: Subject) -> None:
    """A run that ends, and one that is stopped."""
    for finished in (True, False):
        with _trial(subject) as (tracker, trial):
            _begun(tracker, trial.told())
            tracker.scalars(POINTS[:1])
            tracker.scalars(POINTS[1:])
            tracker.picture(2, "heatmaps/00_part", trial.picture)
            tracker.end(finished)


def goes_on(subject: Subject) -> None:
    """Another object takes up what the first has left."""
    with _trial(subject) as (tracker, trial):
        earlier = _begun(tracker, trial.told())
        tracker.scalars(POINTS)
        tracker.end(False)
        other = subject.make(Tracker)
        again = _begun(other, trial.told(earlier))
        if again != earlier:
            raise Breach(f"begun with earlier = {earlier!r}, begin gave {again!r}")
        other.scalars(MORE)
        other.end(True)


def takes_any_name(subject: Subject) -> None:
    """Names and numbers at their edges."""
    with _trial(subject) as (tracker, trial):
        _begun(tracker, trial.told())
        tracker.scalars(ODD)
        tracker.end(True)


def leaves_the_run_alone(subject: Subject) -> None:
    """What lay in the run's folder, before and after."""
    with _trial(subject) as (tracker, trial):
        before = trial.foreign()
        _begun(tracker, trial.told())
        tracker.scalars(POINTS)
        tracker.picture(2, "heatmaps/00_part", trial.picture)
        tracker.end(True)
        after = trial.foreign()
    if changed := sorted(name for name in {*before, *after} if before.get(name) != after.get(name)):
        raise Breach(f"it changed or wrote {', '.join(changed)} in the run's folder")


def follows_a_run(subject: Subject) -> None:
    """The tiny run, tracked while it goes."""
    files = [] if subject.plugin_file is None else [str(subject.plugin_file)]
    # The file is named in the experiment, for the tracker's process knows it from there.
    installed = replace(subject, registry=discover()) if files else subject
    with run_tiny(installed, plugins=files, trackers=[subject.chosen], evaluation={"heatmaps": 1}) as trial:
        chosen = check_tracker_table(subject.chosen, subject.registry, "trackers")
        place = Place.of(trial.folder, subject.name, table_of(chosen))
        if place.sent.problem or not place.sent.finished:
            log = place.log.read_text(encoding="utf-8", errors="replace")
            raise Breach(f"it was dropped: {place.sent.problem or 'its process ended'}; {log[-2000:]}")
