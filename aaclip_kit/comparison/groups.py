"""Which runs stand for which method: a run folder, a parent of seed folders, or an ablation's folder."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..contracts.errors import UserError
from .runs import FinishedRun, holds_a_run, is_finished, read_json, read_run

ORDER: Final = "ablation.json"
"""Written by `aakit ablate`: its variants in the order of the file."""


@dataclass(frozen=True)
class Group:
    """Runs of one method, by seed. `label` is its name in tables."""

    label: str
    folder: Path
    runs: dict[int, FinishedRun]
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Found:
    folder: Path
    runs: list[Path]


def gather(paths: Sequence[Path]) -> list[Group]:
    """The groups that `paths` name, in order, each under a label of its own.

    A run folder is a group of one seed; a folder of run folders is a group of their seeds; a folder of such folders is
    an ablation and gives a group for each. Unfinished runs are left out and named. Raises `UserError` where a path
    holds no finished run, two runs of a group have one seed, or a group is named twice.
    """
    found = [group for path in paths for group in _groups_at(path)]
    folders = Counter(one.folder.resolve() for one in found)
    for one in found:
        if folders[one.folder.resolve()] > 1:
            raise UserError("is named twice", where=str(one.folder), fix="name each run once")
    labels = _labels([one.folder for one in found])
    return [_read(one, label) for one, label in zip(found, labels, strict=True)]


def finished_variants(folder: Path, names: Iterable[str]) -> list[Path]:
    """Folders of these variants below `folder`, in order, that hold a finished run."""
    there = [folder / name for name in names if (folder / name).is_dir()]
    return [variant for variant in there if any(map(is_finished, _run_folders(variant)))]


def _groups_at(path: Path) -> list[_Found]:
    if not path.is_dir():
        raise UserError(
            "there is no such folder", where=str(path), fix="name the folder of a run, of seeds or variants"
        )
    if holds_a_run(path):
        return [_Found(path, [path])]
    if seeds := _run_folders(path):
        return [_Found(path, seeds)]
    variants = finished_variants(path, _ordered(path))
    if not variants:
        raise UserError("holds no finished run", where=str(path), fix="name the folder of a run, of seeds or variants")
    return [_Found(child, _run_folders(child)) for child in variants]


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


def _read(found: _Found, label: str) -> Group:
    runs: dict[int, FinishedRun] = {}
    finished = [folder for folder in found.runs if is_finished(folder)]
    for folder in finished:
        run = read_run(folder)
        if run.seed in runs:
            problem = f"{runs[run.seed].folder.name} and {folder.name} both have seed {run.seed}"
            raise UserError(problem, where=str(found.folder), fix="keep one run of each seed in a folder")
        runs[run.seed] = run
    if not runs:
        raise UserError("holds no finished run", where=str(found.folder), fix="let its runs finish, or leave it out")
    left_out = tuple(folder.name for folder in found.runs if folder not in finished)
    return Group(label, found.folder, dict(sorted(runs.items())), left_out)
