"""Few-shot: a few images of each class, drawn by a seed."""

import hashlib

from ..contracts.data import Shots
from ..contracts.errors import UserError, UserErrors
from .scan import DatasetScan

_KINDS = ("normal", "anomalous")


def draw_shots(found: DatasetScan, shots: Shots, seed: int, where: str) -> DatasetScan:
    """`shots.normal` and `shots.anomalous` images of each class, in the order in which they were.

    An image's rank is a checksum of seed and content, so neither names nor the order of files matter, and the images
    of fewer shots are among those of more. Raises `UserErrors` for each class that has too few.
    """
    wanted = (shots.normal, shots.anomalous)
    groups: dict[tuple[str, int], list[int]] = {}
    for place, sample in enumerate(found.data.samples):
        groups.setdefault((sample.class_name, sample.label), []).append(place)
    chosen: set[int] = set()
    faults = []
    for name in found.data.classes:
        for label, kind in enumerate(_KINDS):
            places = sorted(groups.get((name, label), ()), key=lambda place: _rank(seed, found.facts[place].image))
            if len(places) < wanted[label]:
                problem = f"class '{name}' has {len(places)} {kind} images, not {wanted[label]}"
                fix = "ask for fewer, or leave the class out with `classes`"
                faults.append(UserError(problem, where=f"{where}.shots.{kind}", fix=fix))
            chosen.update(places[: wanted[label]])
    if faults:
        raise UserErrors(faults)
    return found.only(pair for place, pair in enumerate(found.pairs) if place in chosen)


def shots_record(found: DatasetScan, shots: Shots) -> dict[str, object]:
    """What the run's manifest says: how many were asked for, and the files of each class."""
    files: dict[str, list[str]] = {}
    for sample in found.data.samples:
        files.setdefault(sample.class_name, []).append(str(sample.image))
    return {**shots.model_dump(), "files": files}


def _rank(seed: int, content: str) -> str:
    return hashlib.sha256(f"{seed} {content}".encode()).hexdigest()
