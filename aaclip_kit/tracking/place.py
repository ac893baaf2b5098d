"""What is known of a run's tracking: which trackers it has, and how much of it each has been sent."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w

from ..contracts.errors import UserError, writing
from ..experiment import ComponentConfig, Experiment, read_toml
from ..experiment.check import check_tracker_table
from ..experiment.resolved import component_table
from ..files.lock import InUseError, locked
from ..files.plain_file import read_json
from ..files.whole_file import write_whole
from ..plugin_host.discovery import with_plugin_files
from ..plugin_host.registry import Registry
from ..record.run_folder import EXPERIMENT, TRACKERS, TRACKING, as_written

_STATE, _LOG = "sent.json", "log.txt"


@dataclass
class Sent:
    """How far a tracker has come: events, pictures, and whether it was told the end. `id` is what `begin` gave it.

    `problem` is why it was dropped.
    """

    id: str | None = None
    events: int = 0
    pictures: int = 0
    finished: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class Place:
    """A folder in the run's own for one tracker with its options: how much it was sent, its log, its own files."""

    path: Path

    @classmethod
    def of(cls, run: Path, name: str, table: Mapping[str, Any]) -> "Place":
        """The folder of a tracker; options that are not the defaults give a folder of their own."""
        own = {key: value for key, value in table.items() if key != "use"}
        digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]
        return cls(run / TRACKING / (f"{name}-{digest}" if own else name))

    @property
    def log(self) -> Path:
        """What the tracker's process prints."""
        return self.path / _LOG

    @property
    def sent(self) -> Sent:
        """How far it has come. Raises `UserError` where the file is damaged."""
        path = self.path / _STATE
        if not path.exists():
            return Sent()
        with as_written(self.path):
            return Sent(**read_json(path, fix="remove it, and everything is sent again"))

    def write(self, sent: Sent) -> None:
        """Write how far it has come."""
        write_whole(self.path / _STATE, json.dumps(asdict(sent)) + "\n")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder and keep other processes out of it. Raises `UserError` where one is at work."""
        with writing(self.path, "make the run's folder writable"):
            self.path.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.path):
                yield
        except InUseError:
            problem, fix = "another process is sending this run there now", "wait until it ends"
            raise InUseError(problem, where=str(self.path), fix=fix) from None


def table_of(chosen: ComponentConfig) -> dict[str, Any]:
    """A tracker's table with what differs from the defaults."""
    defaults = {name: info.default for name, info in type(chosen.options).model_fields.items()}
    own = {name for name, value in chosen.options if value != defaults[name]}
    return {key: value for key, value in component_table(chosen).items() if key == "use" or key in own}


def write_trackers(run: Path, trackers: Sequence[ComponentConfig]) -> None:
    """Write down which trackers a run has, apart from its experiment, which is the same with and without them."""
    if trackers:
        write_whole(run / TRACKERS, tomli_w.dumps({"trackers": [table_of(chosen) for chosen in trackers]}))
    else:
        (run / TRACKERS).unlink(missing_ok=True)


def with_trackers_of(run: Path, experiment: Experiment, registry: Registry) -> Experiment:
    """The experiment of a run that goes on, with the trackers that it has. Raises `UserError` for faults of them."""
    where, files = str(run / TRACKERS), [file.resolve() for file in experiment.file.plugins]
    known = with_plugin_files(registry, files, f"{run / EXPERIMENT}: plugins")
    return replace(experiment, trackers=tuple(check_tracker_table(one, known, where) for one in tables_of(run)))


def tables_of(run: Path) -> list[dict[str, Any]]:
    """The tables of the trackers that a run has. Raises `UserError` where the file cannot be read."""
    path = run / TRACKERS
    tables = read_toml(path).get("trackers", []) if path.is_file() else []
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise UserError("holds no [[trackers]]", where=str(path), fix="remove it, and the run has none")
    return tables
