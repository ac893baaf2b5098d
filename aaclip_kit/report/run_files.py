"""What a run folder holds, read for a report. Older folders lack some of it, and so do runs that stopped early."""

import json
import tomllib
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..record.examples_file import ExamplesFile
from ..record.run_folder import ATTENTION, CALIBRATION, CASES, CURVES, EVENTS, EXPERIMENT, HEATMAPS, MANIFEST, METRICS

Table = dict[str, Any]


class RunFiles:
    """The contents of a run folder; what a run has not written is empty or None.

    Raises `UserError` where the folder holds no experiment or manifest, and for a file that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = _text(folder / EXPERIMENT)
        """The resolved experiment, as it stands in its file."""
        self.experiment = _parsed(folder / EXPERIMENT, self.text)
        self.manifest = _parsed(folder / MANIFEST, _text(folder / MANIFEST))
        self.metrics = _optional(folder / METRICS) or {}
        self.events = _events(folder / EVENTS)
        self.curves = _optional(folder / CURVES)
        self.examples = ExamplesFile.read(folder / CASES) if (folder / CASES).exists() else None
        self.attention = _optional(folder / ATTENTION)
        self.calibration = _optional(folder / CALIBRATION)

    @property
    def name(self) -> str:
        """The experiment's name, else the folder's."""
        return str(self.experiment.get("name", self.folder.name))

    @property
    def reported_loop(self) -> int | None:
        """The loop whose result stands for the run; None where none does."""
        quoted = (self.metrics.get("quoted") or {}).get("loop")
        return int(quoted) if quoted else None

    @property
    def quoted(self) -> Table | None:
        """The results of the quoted loop."""
        return next((loop for loop in self.metrics.get("loops", []) if loop["loop"] == self.reported_loop), None)

    @property
    def heatmaps(self) -> list[Path]:
        """Heatmap pictures in their order."""
        return sorted((self.folder / HEATMAPS).glob("*.png"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), fix="name the folder of a run") from error


def _parsed(path: Path, text: str) -> Table:
    try:
        parsed: Table = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise UserError(f"is damaged ({error})", where=str(path)) from error
    return parsed


def _optional(path: Path) -> Table | None:
    return _parsed(path, _text(path)) if path.exists() else None


def _events(path: Path) -> list[Table]:
    if not path.exists():
        return []
    # The last line of a run that was killed may be cut off; the lines before it are whole.
    lines = _text(path).splitlines()
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            if number < len(lines):
                raise UserError(f"line {number} is damaged ({error})", where=str(path)) from error
    return events
