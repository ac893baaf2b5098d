"""What a run folder holds, read for a report. Older folders lack some of it, and so do runs that stopped early."""

from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..experiment.toml_file import parse_toml
from ..files.plain_file import WHOLE, read_json, read_text
from ..record.examples_file import ExamplesFile
from ..record.run_folder import (
    ATTENTION,
    CALIBRATION,
    CASES,
    CURVES,
    EXPERIMENT,
    HEATMAPS,
    MANIFEST,
    METRICS,
    read_events,
)  # fmt: skip

Table = dict[str, Any]


def named(loop: int) -> str:
    """What the model after a loop is called."""
    return f"loop {loop}" if loop else "before training"


class RunFiles:
    """The contents of a run folder; what a run has not written is empty or None.

    Raises `UserError` where the folder holds no experiment or manifest, and for a file that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.text = read_text(folder / EXPERIMENT, fix=WHOLE)
        """The resolved experiment, as it stands in its file."""
        self.experiment = _parsed(folder / EXPERIMENT, self.text)
        self.manifest = read_json(folder / MANIFEST)
        self.metrics = _optional(folder / METRICS) or {}
        self.events = read_events(folder)
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
        """The loop whose result stands for the run, 0 for a run without one; None where none does."""
        quoted = (self.metrics.get("quoted") or {}).get("loop")
        return None if quoted is None else int(quoted)

    @property
    def quoted(self) -> Table | None:
        """The results of the quoted loop."""
        results = {0: self.metrics.get("before"), **{loop["loop"]: loop for loop in self.metrics.get("loops", [])}}
        return None if self.reported_loop is None else results.get(self.reported_loop)

    @property
    def heatmaps(self) -> list[Path]:
        """Heatmap pictures in their order."""
        return sorted((self.folder / HEATMAPS).glob("*.png"))


def _parsed(path: Path, text: str) -> Table:
    try:
        return parse_toml(text, str(path), WHOLE)
    except UserError as error:
        raise UserError(f"is damaged: {error.problem}", where=str(path), fix=WHOLE) from None


def _optional(path: Path) -> Table | None:
    return read_json(path) if path.exists() else None
