"""Finished runs, read back from their folders."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

from ..contracts.errors import UserError
from ..files.plain_file import read_json
from ..record.run_folder import (
    CHECKPOINT_SUFFIXES,
    EVALUATION,
    EVENTS,
    MANIFEST,
    METRICS,
    as_written,
    is_finished,
    read_events,
    was_left,
)  # fmt: skip

Scores = Mapping[str, Mapping[str, float | None]]
"""Values of each class by the names of the metrics; a metric that the run does not hold is absent."""


@dataclass(frozen=True)
class Cost:
    """What a run's process took: processor seconds, threads added up, and the most bytes of memory."""

    seconds: float
    peak_bytes: int


@dataclass(frozen=True)
class FinishedRun:
    """What a comparison needs of a run, or of an evaluation: its seed, its results, and what its data were."""

    folder: Path
    seed: int | None
    """None of a model that was not trained here."""
    _: KW_ONLY
    metrics: dict[str, Any]
    data: dict[str, dict[str, Any]]
    commit: str | None
    loop: int | None = None
    """The loop that was asked for by name."""
    cost: Cost | None = None

    def at(self, loop: int | None = None) -> int:
        """The loop that stands for the run: the one named with it, else `loop`, else the quoted one."""
        chosen = loop if self.loop is None else self.loop
        return int(self.metrics["quoted"]["loop"]) if chosen is None else chosen

    def result(self, loop: int | None = None) -> dict[str, Any]:
        """Classes and mean after the loop that stands for the run; 0 is before training. Raises `UserError`."""
        wanted = self.at(loop)
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


def _evaluation(place: Path) -> Path | None:
    """The file that `aakit evaluate` wrote, as `place` or into it; None where there is a run, or runs, or nothing."""
    if place.is_file():
        return place
    path = place / EVALUATION
    return None if not path.is_file() or any(map(holds_a_run, (place, *place.iterdir()))) else path


def _is_result(folder: Path) -> bool:
    """Say whether a run was begun here, or an evaluation written."""
    return holds_a_run(folder) or _evaluation(folder) is not None


def _has_result(folder: Path) -> bool:
    """Say whether there is a result here: of a run that is finished, or of an evaluation."""
    return _evaluation(folder) is not None or is_finished(folder)


def warnings_of(folder: Path) -> list[str]:
    """Read what a finished run warned of: notes on its data, and warnings of its training."""
    with as_written(folder):
        data = read_json(folder / MANIFEST)["data"]
        notes = [f"warning: data.{role}: {note}" for role, of in data.items() for note in of.get("notes") or ()]
        return notes + [event["message"] for event in read_events(folder) if event["event"] == "warning"]


def read_run(folder: Path, loop: int | None = None) -> FinishedRun:
    """Read a run's results and data fingerprints, or an evaluation's; `loop` stands for the run in place of its own.

    Raises `UserError` where it is unfinished or damaged, or has no such loop.
    """
    if path := _evaluation(folder):
        return _read_evaluation(path, loop)
    if not is_finished(folder):
        raise UserError("is an unfinished run", where=str(folder), fix="let it finish, or leave it out")
    metrics, manifest = read_json(folder / METRICS), read_json(folder / MANIFEST)
    with as_written(folder):
        seed, data = int(manifest["seeds"]["seed"]), dict(manifest["data"])
        commit = (manifest.get("git") or {}).get("commit")
        run = FinishedRun(folder, seed, metrics=metrics, data=data, commit=commit, cost=_cost(manifest))
        for one in (None, 0):
            run.scores(one)
        data["test"]["sha256"]
        run = replace(run, loop=loop)
        run.scores()
        return run


def _cost(manifest: Mapping[str, Any]) -> Cost | None:
    """None of a run that scored another's weights, that went on in a second process, or that is too old to say."""
    seconds, peak = manifest.get("processor_seconds"), manifest.get("peak_memory_bytes")
    if seconds is None or peak is None or "rescored_from" in manifest:
        return None
    return Cost(float(seconds), int(peak))


def _read_evaluation(path: Path, loop: int | None) -> FinishedRun:
    """Read what `aakit evaluate` wrote, as the result of a run that has no loop."""
    record = read_json(path)
    if loop is not None:
        raise UserError("is the result of one checkpoint, and has no loops", where=str(path), fix="leave the loop out")
    try:
        result = {"classes": dict(record["classes"]), "mean": dict(record["mean"])}
        metrics = {"before": result, "loops": [], "quoted": {"loop": 0}}
        data = {"test": {"sha256": record["data"]["sha256"]}}
        seed = None if record.get("seed") is None else int(record["seed"])
    except (KeyError, TypeError, ValueError) as error:
        fix = "name the folder of a run, or what `aakit evaluate` wrote"
        raise UserError(f"holds no result of an evaluation: {error!r}", where=str(path), fix=fix) from None
    return FinishedRun(path, seed, metrics=metrics, data=data, commit=None, loop=0)


ORDER: Final = "ablation.json"
"""Written by `aakit ablate`: its variants in the order of the file."""


@dataclass(frozen=True)
class Group:
    """Runs of one method, by seed. `label` is its name in tables."""

    label: str
    folder: Path
    runs: dict[int, FinishedRun]
    unfinished: tuple[str, ...] = ()
    missing: tuple[Path, ...] = ()
    """Folders of other variants of its ablation, which have no finished run."""

    @property
    def one_model(self) -> FinishedRun | None:
        """The result of a model that has no seed, and stands beside every seed of others."""
        return next((run for run in self.runs.values() if run.seed is None), None)

    @property
    def cost(self) -> Cost | None:
        """The median over the runs that say what they took; None where none does."""
        costs = [run.cost for run in self.runs.values() if run.cost is not None]
        if not costs:
            return None
        return Cost(median(one.seconds for one in costs), int(median(one.peak_bytes for one in costs)))


@dataclass(frozen=True)
class _Named:
    """A folder, the run folders that make a group of it, and the loop that was named with it."""

    folder: Path
    runs: list[Path]
    loop: int | None = None
    missing: tuple[Path, ...] = ()

    @property
    def identity(self) -> tuple[Path, int | None]:
        """What no two of a comparison share."""
        return self.folder.resolve(), self.loop


def gather(paths: Sequence[Path], missing: tuple[Path, ...] = ()) -> list[Group]:
    """Read the groups that `paths` name, in order, each under a label of its own.

    A run folder, or the result of an evaluation, is a group of one seed; a folder of run folders is a group of their
    seeds; a folder of such folders is an ablation and gives a group for each. `PATH:loopN` names another loop than the
    quoted one. Unfinished runs, variants of an ablation that have no finished run, and those that the caller knows to
    be `missing` are left out and named. Raises `UserError` where a path holds no finished run, two runs of a group have
    one seed, or a group is named twice.
    """
    groups = [group for path in paths for group in _groups_at(path)]
    times = Counter(group.identity for group in groups)
    for group in groups:
        if times[group.identity] > 1:
            fix = f"name each once; two loops of a run are {group.folder}:loop1 and {group.folder}:loop2"
            raise UserError("is named twice", where=str(group.folder), fix=fix)
    folders = list(dict.fromkeys(group.folder for group in groups))
    labels = dict(zip(folders, _labels(folders), strict=True))
    ends = ("" if group.loop is None else f":loop{group.loop}" for group in groups)
    read = [_read(group, labels[group.folder] + end) for group, end in zip(groups, ends, strict=True)]
    return [replace(group, missing=group.missing + missing) for group in read]


def finished_variants(folder: Path, names: Iterable[str]) -> list[Path]:
    """Find the folders of these variants below `folder`, in order, that hold a finished run."""
    there = [folder / name for name in names if (folder / name).is_dir()]
    return [variant for variant in there if any(map(is_finished, _run_folders(variant)))]


def _groups_at(path: Path) -> list[_Named]:
    loop = None
    if not path.exists() and (named := re.fullmatch(r"(.+):loop_?(\d{1,4})", str(path))):
        path, loop = Path(named[1]), int(named[2])
    fix = "name the folder of a run, of seeds or variants"
    if path.suffix in CHECKPOINT_SUFFIXES and path.is_file():
        raise _checkpoint_alone(path)
    if _is_result(path):
        return [_Named(path, [path], loop)]
    if not path.is_dir():
        raise UserError("there is no such folder", where=str(path), fix=fix)
    if seeds := _run_folders(path):
        return [_Named(path, seeds, loop)]
    variants = finished_variants(path, _ordered(path))
    if not variants and any(child.suffix in CHECKPOINT_SUFFIXES for child in path.iterdir()):
        raise _checkpoint_alone(path)
    if not variants:
        raise UserError("holds no finished run", where=str(path), fix=fix)
    missing = tuple(path / name for name in _variants(path) if path / name not in variants)
    return [_Named(child, _run_folders(child), loop, missing) for child in variants]


def _checkpoint_alone(path: Path) -> UserError:
    fix = f"aakit evaluate {path} --out FOLDER, and name that folder; loops of a run are RUN:loop1, RUN:loop2"
    return UserError("is a checkpoint, which holds no results", where=str(path), fix=fix)


def _run_folders(folder: Path) -> list[Path]:
    children = (child for child in sorted(folder.iterdir()) if child.is_dir())
    return [child for child in children if _is_result(child)]


def _listed(folder: Path) -> list[str]:
    """The variants that an ablation's file names; none where there was no ablation."""
    order = folder / ORDER
    return list(read_json(order).get("variants", ())) if order.is_file() else []


def _variants(folder: Path) -> list[str]:
    """The listed variants, and what else holds runs, finished or not."""
    listed = _listed(folder)
    return [name for name in _ordered(folder) if name in listed or _run_folders(folder / name)]


def _ordered(folder: Path) -> list[str]:
    """Names of the folders below; those of an ablation in the order of its file."""
    listed = _listed(folder)
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


def _read(group: _Named, label: str) -> Group:
    runs: dict[int, FinishedRun] = {}
    folder, finished = group.folder, [place for place in group.runs if _has_result(place)]
    for run in (read_run(place, group.loop) for place in finished):
        if run.seed is None and len(finished) > 1:
            problem = f"{run.folder} says no seed, so that it is no run among others"
            raise UserError(problem, where=str(folder), fix="move it elsewhere, and name it beside the folder")
        if run.seed in runs:
            problem = f"{runs[run.seed].folder.name} and {run.folder.name} both have seed {run.seed}"
            raise UserError(problem, where=str(folder), fix="keep one run of each seed in a folder")
        runs[run.seed or 0] = run
    if not runs:
        raise UserError("holds no finished run", where=str(folder), fix="let its runs finish, or leave it out")
    left_out = tuple(place.name for place in group.runs if place not in finished)
    return Group(label, folder, dict(sorted(runs.items())), left_out, group.missing)
