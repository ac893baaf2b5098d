"""The run folder: the only place where the names of its files are written down, since scripts read them."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from ..contracts.errors import UserError, not_writable
from ..files.lock import LOCK, Lock, locked
from ..files.plain_file import WHOLE, read_json, read_plain, read_text
from ..files.whole_file import remove_leftovers, write_whole

if TYPE_CHECKING:
    from torch import Tensor


MOST_EVENTS: Final = 4 << 30
"""Bytes of the largest file of events that is read."""

EXPERIMENT: Final = "experiment.toml"
MANIFEST: Final = "manifest.json"
EVENTS: Final = "events.jsonl"
METRICS: Final = "metrics.json"
EVALUATION: Final = "evaluation.json"
"""What `aakit evaluate` writes into a folder."""
CURVES: Final = "curves.json"
CALIBRATION: Final = "calibration.json"
CASES: Final = "cases.npz"
ATTENTION: Final = "attention.json"
REPORT: Final = "report.html"
CHECKPOINTS: Final = "checkpoints"
CHECKPOINT_SUFFIXES: Final = (".safetensors", ".pth")
BANK: Final = "bank.safetensors"
"""In the folder of the checkpoints, what a memory of normal images holds: all loops share it."""
HEATMAPS: Final = "heatmaps"
SNAPSHOTS: Final = "snapshots"
FAULT: Final = "fault"
TRACKERS: Final = "trackers.toml"
TRACKING: Final = "tracking"
"""The folder of what trackers were sent, and of files of their own."""
RUN_NAMES: Final = (
    EXPERIMENT, MANIFEST, EVENTS, METRICS, CURVES, CALIBRATION, CASES, ATTENTION, REPORT,
    CHECKPOINTS, HEATMAPS, SNAPSHOTS, FAULT, TRACKERS, TRACKING, LOCK,
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. `RunFolder(path)` names a folder that exists; `RunFolder.create(path)` makes a new one.

    `lock` is what keeps other runs out of it; None where nobody has asked for it.
    """

    path: Path
    lock: Lock | None = None

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the folder and its parents, and claim it with an empty events file.

        Raises `UserError`, and writes nothing, where the path is a file, holds a run or anything else, or cannot be
        written. Of two runs that start at once on one path, one is refused.
        """
        cls.check_free(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / EVENTS).touch(exist_ok=False)
        except FileExistsError as error:
            raise _holds_a_run(path) from error
        except OSError as error:
            raise not_writable(path, error) from error
        return cls(path)

    @staticmethod
    def check_free(path: Path) -> None:
        """Raise `UserError` unless a run could be put here. Writes nothing, so it serves a dry run too."""
        try:
            if not path.exists():
                return
            if not path.is_dir():
                raise UserError("the output path is a file", where=str(path), fix="name a new or an empty folder")
            present = set() if was_left(path) else {entry.name for entry in path.iterdir()}
        except OSError as error:
            raise not_writable(path, error) from error
        if present & set(RUN_NAMES):
            raise _holds_a_run(path)
        if present:
            raise UserError("the output folder is not empty", where=str(path), fix="name a new or an empty folder")

    def write_experiment(self, text: str) -> None:
        """Write the resolved experiment, TOML text."""
        write_whole(self.path / EXPERIMENT, text)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest; a later one replaces it. Raises ValueError for a number that is not finite."""
        write_whole(self.path / MANIFEST, json.dumps(manifest, indent=2, allow_nan=False) + "\n")

    def event(self, event: Mapping[str, Any]) -> None:
        """Append one line to the events. A number that is not finite (a diverged loss) becomes null."""
        line = json.dumps(finite(event), allow_nan=False)
        with (self.path / EVENTS).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    @property
    def started(self) -> datetime:
        """When the run began, by its manifest. Raises `UserError` where that does not say."""
        try:
            return datetime.fromisoformat(read_json(self.path / MANIFEST)["started"])
        except (KeyError, TypeError, ValueError):
            fix = "restore it, or start again in another folder"
            raise UserError("does not say when the run began", where=str(self.path / MANIFEST), fix=fix) from None

    @property
    def identity(self) -> str:
        """What tells the run's snapshots from another's: a digest of its experiment, its images and when it began."""
        facts = [self.started.isoformat(), fingerprints_in(read_json(self.path / MANIFEST))]
        text = read_plain(self.path / EXPERIMENT)
        return hashlib.sha256(text + json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def events_size(self) -> int:
        """Bytes of the events so far."""
        return (self.path / EVENTS).stat().st_size

    def flushed_events_size(self) -> int:
        """The same, once they are on the disk: a snapshot must not outlast events that it counts."""
        with (self.path / EVENTS).open("rb") as file:
            os.fsync(file.fileno())
        return self.events_size()

    def cut_events(self, size: int) -> None:
        """Forget the events after the first `size` bytes: a run that goes on from there writes them again.

        Raises `UserError` where there are fewer, or they are damaged.
        """
        kept = read_plain(self.path / EVENTS, most=MOST_EVENTS)[:size]
        if len(kept) < size or b"\0" in kept or (kept and not kept.endswith(b"\n")):
            problem = f"is not what the run's last state says: {size:,} bytes of whole lines"
            raise UserError(problem, where=str(self.path / EVENTS), fix="start again in another folder")
        with (self.path / EVENTS).open("r+b") as file:
            file.truncate(size)

    def clear(self) -> None:
        """Remove what an earlier run has left, so that one can begin. Raises OSError."""
        for path in (self.path / name for name in RUN_NAMES if name != LOCK):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Delete files half written by a run that died. Nobody else may work in the folder."""
        for folder in (self.path, self.path / CHECKPOINTS, self.snapshots):
            remove_leftovers(folder)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write the metrics as a whole: a reader sees the earlier file or the new one, never half of either.

        Keys are sorted and numbers are at full precision, so that equal metrics are equal files; an undefined metric
        is None. Raises ValueError for a number that is not finite.
        """
        write_whole(self.path / METRICS, json.dumps(metrics, indent=2, sort_keys=True, allow_nan=False) + "\n")

    def write_curves(self, curves: Mapping[str, Any]) -> None:
        """Write one loop's ROC and PRO curves: `{"loop": n, "classes": {class: {"roc": points, "pro": points}}}`."""
        write_whole(self.path / CURVES, json.dumps(curves, sort_keys=True, allow_nan=False) + "\n")

    def write_attention(self, record: Mapping[str, Any]) -> None:
        """Write where the stages look, as `attention_record` describes it. Raises ValueError for no finite number."""
        write_whole(self.path / ATTENTION, json.dumps(record, allow_nan=False) + "\n")

    @property
    def examples(self) -> Path:
        """The file of the test images that the report shows."""
        return self.path / CASES

    def write_calibration(self, calibration: Mapping[str, Any]) -> None:
        """Write the thresholds of the quoted loop and where they come from."""
        write_whole(self.path / CALIBRATION, json.dumps(calibration, indent=2, allow_nan=False) + "\n")

    def checkpoint_path(self, loop: int, suffix: str = ".safetensors") -> Path:
        """Where the checkpoint of loop `loop` (from 1) belongs; its folder is made."""
        return _made(self.path / CHECKPOINTS) / f"loop_{loop}{suffix}"

    @property
    def bank(self) -> Path:
        """Where what is remembered of normal images belongs; its folder is made."""
        return _made(self.path / CHECKPOINTS) / BANK

    @property
    def snapshots(self) -> Path:
        """The folder of the states that a run which died goes on from; a finished run has none."""
        return self.path / SNAPSHOTS

    @property
    def fault(self) -> Path:
        """The folder of the step that ended the run since its numbers were not finite: a run's folder of its own."""
        return self.path / FAULT

    def write_fault(self, about: Mapping[str, Any], batch: "Mapping[str, Tensor]") -> None:
        """Write a fault's folder, but for its snapshot: what happened, and the batch. Raises OSError."""
        from safetensors.torch import save

        shutil.rmtree(self.fault, ignore_errors=True)
        self.fault.mkdir()
        for name in (EXPERIMENT, MANIFEST):
            shutil.copyfile(self.path / name, self.fault / name)
        (self.fault / EVENTS).touch()
        write_whole(self.fault / "fault.json", json.dumps(finite(about), indent=2, allow_nan=False) + "\n")
        write_whole(self.fault / "batch.safetensors", save(dict(batch)))

    def remove_snapshots(self) -> None:
        """What a finished run does not need any more."""
        shutil.rmtree(self.snapshots, ignore_errors=True)

    @property
    def heatmaps(self) -> Path:
        """The folder of heatmap pictures, made on first use."""
        return _made(self.path / HEATMAPS)

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.path / REPORT


@contextmanager
def made_folder(out: Path | None, name: str) -> Iterator[Path]:
    """The folder `out`, made where it is not there; without it `default_run_path`, made for nobody else.

    What was made and is empty in the end is removed. Raises `UserError` where it cannot be written.
    """
    while True:
        path = out or default_run_path(name)
        new = [folder for folder in (path, *path.parents) if not folder.exists()]
        try:
            path.mkdir(parents=True, exist_ok=out is not None)
            break
        except OSError as error:
            # Another process was quicker to take this name.
            if out is not None or not isinstance(error, FileExistsError):
                raise not_writable(path, error) from error
    try:
        yield path
    finally:
        with suppress(OSError):
            for folder in new:
                folder.rmdir()


@contextmanager
def claimed(out: Path | None, name: str) -> Iterator[RunFolder]:
    """A run's folder as `made_folder` makes it, in which nobody else works until the block ends.

    Raises `UserError` where somebody does.
    """
    with made_folder(out, name) as path, locked(path) as lock:
        yield RunFolder(path, lock)
        if was_left(path):
            (path / LOCK).unlink()


@contextmanager
def new_run(out: Path | None, name: str) -> Iterator[RunFolder]:
    """The folder of a run that is to begin, claimed; where it does not begin, nothing of it is left.

    Raises `UserError` as `RunFolder.check_free` does.
    """
    if out is not None:
        RunFolder.check_free(out)
    with claimed(out, name) as folder:
        RunFolder.check_free(folder.path)
        with beginning(folder):
            yield folder


@contextmanager
def beginning(folder: RunFolder) -> Iterator[None]:
    """Claim the folder for a run that begins in the block; one that fails before it has begun leaves nothing."""
    events = folder.path / EVENTS
    try:
        # Where there are no locks, this file is the claim.
        events.touch(exist_ok=folder.lock is not None and folder.lock.absent is None)
    except FileExistsError:
        raise _holds_a_run(folder.path) from None
    try:
        yield
    finally:
        if not (folder.path / EXPERIMENT).exists():
            events.unlink(missing_ok=True)


def was_left(path: Path) -> bool:
    """Say whether a folder holds nothing but what a run leaves that was killed before it had begun, or begins now."""
    sizes = {entry.name: entry.lstat().st_size for entry in path.iterdir()}
    return LOCK in sizes and sizes.keys() <= {LOCK, EVENTS} and not any(sizes.values())


@contextmanager
def as_written(folder: Path | str) -> Iterator[None]:
    """Raise `UserError` for what is met in a run's files that is of another type or shape than a run writes."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
        problem = f"a file of it is not as a run writes it ({type(error).__name__}: {error})"
        raise UserError(problem, where=str(folder), fix=WHOLE) from error


def read_events(folder: Path) -> list[dict[str, Any]]:
    """A run's events; none where it has no file of them. Raises `UserError` for a damaged one.

    The last line of a run that was killed may be cut off; the lines before it are whole.
    """
    path, events = folder / EVENTS, list[dict[str, Any]]()
    lines = read_text(path, most=MOST_EVENTS, fix=WHOLE).splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise UserError(f"line {number} is damaged ({error})", where=str(path), fix=WHOLE) from error
        if not isinstance(event, dict):
            raise UserError(f"line {number} is no event", where=str(path), fix=WHOLE)
        events.append(event)
    return events


def fingerprints_in(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The digest of each role's images, by a manifest; None for what is none."""
    data = manifest.get("data")
    roles = data.items() if isinstance(data, dict) else ()
    return {role: record.get("sha256") if isinstance(record, dict) else None for role, record in roles}


def is_finished(folder: Path) -> bool:
    """Say whether the run here came to its end: it quotes a result, and its manifest names the time.

    Its report can be made again at any time. Raises `UserError` where these cannot be read.
    """
    path = folder / METRICS
    return path.is_file() and "quoted" in read_json(path) and bool(read_json(folder / MANIFEST).get("finished"))


def check_elsewhere(path: Path) -> None:
    """Raise `UserError` for the working directory: a folder that is put in its place would not be the one worked in."""
    if path.resolve() == Path.cwd():
        raise UserError("is the folder that you are in", where=str(path), fix="name another one with --out")


def default_run_path(name: str, now: datetime | None = None, root: Path = Path("runs")) -> Path:
    """`runs/NAME-YYYYmmdd-HHMMSS`, local time; a number is added where that exists."""
    first = f"{name}-{now or datetime.now():%Y%m%d-%H%M%S}"
    names = chain([first], (f"{first}-{number}" for number in count(2)))
    return next(root / name for name in names if not (root / name).exists())


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def finite(value: Any) -> Any:
    """The same plain data with null for each number that is not finite, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def _holds_a_run(path: Path) -> UserError:
    return UserError("the output folder already holds a run", where=str(path), fix="name another one with --out")
