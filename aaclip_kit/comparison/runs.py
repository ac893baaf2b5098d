"""Finished runs, read back from their folders."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..record.folder import EVENTS, MANIFEST, METRICS

Scores = Mapping[str, Mapping[str, float | None]]
"""Values of each class by the names of the metrics; a metric that the run does not hold is absent."""


@dataclass(frozen=True)
class FinishedRun:
    """What a comparison needs of a run: its seed, its results, and what its data were."""

    folder: Path
    seed: int
    metrics: dict[str, Any]
    data: dict[str, dict[str, Any]]
    commit: str | None

    @property
    def quoted_loop(self) -> int:
        """The loop that stands for the run; 0 is before training."""
        return int(self.metrics["quoted"]["loop"])

    def result(self, loop: int | None = None) -> dict[str, Any]:
        """Classes and mean after `loop`, by default the quoted one; 0 is before training. Raises `UserError`."""
        wanted = self.quoted_loop if loop is None else loop
        results = {0: self.metrics["before"], **{found["loop"]: found for found in self.metrics["loops"]}}
        if wanted not in results:
            problem = f"has no loop {wanted}; its last is {max(results)}"
            raise UserError(problem, where=str(self.folder), fix="name a loop that each run has, or leave --loop out")
        return results[wanted]

    def scores(self, loop: int | None = None) -> Scores:
        """The classes' values after `loop`."""
        scores: Scores = self.result(loop)["classes"]
        return scores


def holds_a_run(folder: Path) -> bool:
    """Whether a run was begun here."""
    return (folder / EVENTS).is_file() or (folder / METRICS).is_file()


def is_finished(folder: Path) -> bool:
    """Whether the run here came to its end: it quotes a result, and its manifest names the time."""
    path = folder / METRICS
    return path.is_file() and "quoted" in read_json(path) and bool(read_json(folder / MANIFEST).get("finished"))


def warnings_of(folder: Path) -> list[str]:
    """What a finished run warned of: notes on its data, and warnings of its training."""
    data = read_json(folder / MANIFEST)["data"]
    notes = [f"warning: data.{role}: {note}" for role, of in data.items() for note in of.get("notes") or ()]
    events = map(json.loads, (folder / EVENTS).read_text(encoding="utf-8").splitlines())
    return notes + [event["message"] for event in events if event["event"] == "warning"]


def read_run(folder: Path) -> FinishedRun:
    """Read a run's results and data fingerprints. Raises `UserError` where it is unfinished or damaged."""
    if not is_finished(folder):
        raise UserError("is an unfinished run", where=str(folder), fix="let it finish, or leave it out")
    metrics, manifest = read_json(folder / METRICS), read_json(folder / MANIFEST)
    try:
        seed, data = int(manifest["seeds"]["seed"]), dict(manifest["data"])
        run = FinishedRun(folder, seed, metrics, data, (manifest.get("git") or {}).get("commit"))
        for loop in (None, 0):
            run.scores(loop)
        data["test"]["sha256"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{METRICS} or {MANIFEST} is not as a run writes it: {error!r}"
        raise UserError(problem, where=str(folder), fix="name the folder of a run") from None
    return run


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises `UserError` for a file that is missing, is damaged or holds something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), fix="name the folder of a whole run") from None
    if not isinstance(found, dict):
        raise UserError("holds no JSON object", where=str(path), fix="name the folder of a whole run")
    return found
