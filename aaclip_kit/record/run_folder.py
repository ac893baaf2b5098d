"""The run folder: the only place where the names of its files are written down, since scripts read them."""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from ..contracts.errors import UserError, not_writable
from ..files.lock import LOCK
from ..files.whole_file import write_whole

if TYPE_CHECKING:
    from torch import Tensor


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
HEATMAPS: Final = "heatmaps"
SNAPSHOTS: Final = "snapshots"
FAULT: Final = "fault"
RUN_NAMES: Final = (
    EXPERIMENT, MANIFEST, EVENTS, METRICS, CURVES, CALIBRATION, CASES, ATTENTION, REPORT,
    CHECKPOINTS, HEATMAPS, SNAPSHOTS, FAULT, LOCK,
)  # fmt: skip


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. `RunFolder(path)` names a folder that exists; `RunFolder.create(path)` makes a new one."""

    path: Path

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
            present = {entry.name for entry in path.iterdir()}
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
        """When the run began, by its manifest."""
        return datetime.fromisoformat(json.loads((self.path / MANIFEST).read_text(encoding="utf-8"))["started"])

    def events_size(self) -> int:
        """Bytes of the events so far."""
        return (self.path / EVENTS).stat().st_size

    def cut_events(self, size: int) -> None:
        """Forget the events after the first `size` bytes: a run that goes on from there writes them again."""
        with (self.path / EVENTS).open("r+b") as file:
            file.truncate(size)

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
