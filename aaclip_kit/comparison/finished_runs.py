"""Finished runs, read back from their folders."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final, cast

from ..contracts.errors import UserError
from ..files.plain_file import read_json
from ..record.run_folder import EVENTS, MANIFEST, METRICS, as_written, is_finished, read_events, was_left

Scores = Mapping[str, Mapping[str, float | None]]
"""Values of each class by the names of the metrics; a metric that the run does not hold is absent."""


@dataclass(frozen=True)
class FinishedRun:
    """What a comparison needs of a run: its seed, its results, and what its data were."""

    folder: Path
    seed: int
    _: KW_ONLY
    metrics: dict[str, Any]
    data: dict[str, dict[str, Any]]
    commit: str | None

    @property
    def reported_loop(self) -> int:
        """The loop that stands for the run; 0 is before training."""
        return int(self.metrics["quoted"]["loop"])

    def result(self, loop: int | None = None) -> dict[str, Any]:
        """Classes and mean after `loop`, by default the quoted one; 0 is before training. Raises `UserError`."""
        wanted = self.reported_loop if loop is None else loop
        results = {0: self.metrics["before"], **{result["loop"]: result for result in self.metrics["loops"]}}
        if wanted not in results:
            problem = f"has no loop {wanted}; its last is {max(results)}"
            raise UserError(problem, where=str(self.folder), fix="name a loop that each run has, or leave --loop out")
        return results[wanted]

    def scores(self, loop: int | None = None) -> Scores:
        """The classes' values after `loop`."""
        return cast(Scores, self.result(loop)["classes"])


def holds_a_run(folder: Path) -> bool:
    """Say whether a run was begun here."""
    return ((folder / EVENTS).is_file() and not was_left(folder)) or (folder / METRICS).is_file()


def warnings_of(folder: Path) -> list[str]:
    """Read what a finished run warned of: notes on its data, and warnings of its training."""
    with as_written(folder):
        data = read_json(folder / MANIFEST)["data"]
        notes = [f"warning: data.{role}: {note}" for role, of in data.items() for note in of.get("notes") or ()]
        return notes + [event["message"] for event in read_events(folder) if event["event"] == "warning"]


def read_run(folder: Path) -> FinishedRun:
    """Read a run's results and data fingerprints. Raises `UserError` where it is unfinished or damaged."""
    if not is_finished(folder):
        raise UserError("is an unfinished run", where=str(folder), fix="let it finish, or leave it out")
    metrics, manifest = read_json(folder / METRICS), read_json(folder / MANIFEST)
    with as_written(folder):
        seed, data = int(manifest["seeds"]["seed"]), dict(manifest["data"])
        commit = (manifest.get("git") or {}).get("commit")
        run = FinishedRun(folder, seed, metrics=metrics, data=data, commit=commit)
        for loop in (None, 0):
            run.scores(loop)
        data["test"]["sha256"]
        return run


ORDER: Final = "ablation.json"
"""Written by `aakit ablate`: its variants in the order of the file."""


@dataclass(frozen=True)
class Group:
    """Runs of one method, by seed. `label` is its name in tables."""

    label: str
    folder: Path
    runs: dict[int, FinishedRun]
    unfinished: tuple[str, ...] = ()


_RunFolders = tuple[Path, list[Path]]
"""A folder and the run folders that make a group of it."""


def gather(paths: Sequence[Path]) -> list[Group]:
    """Read the groups that `paths` name, in order, each under a label of its own.

    A run folder is a group of one seed; a folder of run folders is a group of their seeds; a folder of such folders is
    an ablation and gives a group for each. Unfinished runs are left out and named. Raises `UserError` where a path
    holds no finished run, two runs of a group have one seed, or a group is named twice.
    """
    groups = [group for path in paths for group in _groups_at(path)]
    times = Counter(folder.resolve() for folder, _ in groups)
    for folder, _ in groups:
        if times[folder.resolve()] > 1:
            raise UserError("is named twice", where=str(folder), fix="name each run once")
    labels = _labels([folder for folder, _ in groups])
    return [_read(*group, label) for group, label in zip(groups, labels, strict=True)]


def finished_variants(folder: Path, names: Iterable[str]) -> list[Path]:
    """Find the folders of these variants below `folder`, in order, that hold a finished run."""
    there = [folder / name for name in names if (folder / name).is_dir()]
    return [variant for variant in there if any(map(is_finished, _run_folders(variant)))]


def _groups_at(path: Path) -> list[_RunFolders]:
    fix = "name the folder of a run, of seeds or variants"
    if not path.is_dir():
        raise UserError("there is no such folder", where=str(path), fix=fix)
    if holds_a_run(path):
        return [(path, [path])]
    if seeds := _run_folders(path):
        return [(path, seeds)]
    variants = finished_variants(path, _ordered(path))
    if not variants:
        raise UserError("holds no finished run", where=str(path), fix=fix)
    return [(child, _run_folders(child)) for child in variants]


def _run_folders(folder: Path) -> list[Path]:
    return [child for child in sorted(folder.iterdir()) if child.is_dir() and holds_a_run(child)]


def _ordered(folder: Path) -> list[str]:
    """Names of the folders below; those of an ablation in the order of its file."""
    order = folder / ORDER
    listed = list(read_json(order).get("variants", ())) if order.is_file() else []
    children = sorted(child.name for child in folder.iterdir() if child.is_dir())
    return list(dict.fromkeys((*listed, *children)))


def _labels(folders: Sequence[Path]) -> list[str]:
    """Shortest ends of the paths that tell them apart."""
    parts = [folder.absolute().parts for folder in folders]
    labels = []
    for own in parts:
        length = 1
        while sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        labels.append("/".join(own[-length:]))
    return labels


def _read(folder: Path, seeds: Sequence[Path], label: str) -> Group:
    runs: dict[int, FinishedRun] = {}
    finished = [place for place in seeds if is_finished(place)]
    for run in map(read_run, finished):
        if run.seed in runs:
            problem = f"{runs[run.seed].folder.name} and {run.folder.name} both have seed {run.seed}"
            raise UserError(problem, where=str(folder), fix="keep one run of each seed in a folder")
        runs[run.seed] = run
    if not runs:
        raise UserError("holds no finished run", where=str(folder), fix="let its runs finish, or leave it out")
    left_out = tuple(place.name for place in seeds if place not in finished)
    return Group(label, folder, dict(sorted(runs.items())), left_out)
