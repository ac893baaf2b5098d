"""Images drawn by a seed: a few shots of each class, and the share that is held out for calibration."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np

from ..contracts.data import DataSet, Shots
from ..contracts.errors import UserError, UserErrors
from .scan import DatasetScan

KINDS = ("normal", "anomalous")


def draw_shots(scan: DatasetScan, shots: Shots, seed: int, where: str) -> DatasetScan:
    """`shots.normal` and `shots.anomalous` images of each class, in the order in which they were.

    An image's rank is a checksum of seed and content, so neither names nor the order of files matter, and the images
    of fewer shots are among those of more. Raises `UserErrors` for each class that has too few.
    """
    wanted = (shots.normal, shots.anomalous)
    ranks = [shot_rank(facts.image, seed) for facts in scan.facts]
    groups: dict[tuple[str, int], list[int]] = {}
    for place, sample in enumerate(scan.data.samples):
        groups.setdefault((sample.class_name, sample.label), []).append(place)
    chosen: set[int] = set()
    faults = []
    for name in scan.data.classes:
        for label, kind in enumerate(KINDS):
            places = sorted(groups.get((name, label), ()), key=ranks.__getitem__)
            if len(places) < wanted[label]:
                problem = f"class '{name}' has {len(places)} {kind} images, not {wanted[label]}"
                fix = "ask for fewer, or leave the class out with `classes`"
                faults.append(UserError(problem, where=f"{where}.shots.{kind}", fix=fix))
            chosen.update(places[: wanted[label]])
    if faults:
        raise UserErrors(faults)
    return scan.only(pair for place, pair in enumerate(scan.pairs) if place in chosen)


def shot_rank(checksum: str, seed: int) -> str:
    """What images are sorted by where a seed draws a few: the first of them are the shots."""
    return hashlib.sha256(f"{seed} {checksum}".encode()).hexdigest()


def shots_record(scan: DatasetScan, shots: Shots) -> dict[str, object]:
    """What the run's manifest says: how many were asked for, and the files of each class."""
    files: dict[str, list[str]] = {}
    for sample in scan.data.samples:
        files.setdefault(sample.class_name, []).append(str(sample.image))
    return {**shots.model_dump(), "files": files}


def split(data: DataSet, images: Mapping[Path, str], share: float, seed: int) -> tuple[DataSet, DataSet]:
    """The rest and a share of a data set, both in its order; `images` gives the checksum of each image.

    Of each class and label the nearest whole number of contents is drawn, never all, each with every file that holds
    it. A content that two classes or both labels have stays in the rest. What is drawn of one class does not depend on
    others that share no content with it.
    """
    groups: dict[tuple[str, int], dict[str, None]] = {}
    for sample in data.samples:
        groups.setdefault((sample.class_name, sample.label), {})[images[sample.image]] = None
    owners = Counter(content for contents in groups.values() for content in contents)
    drawn: set[str] = set()
    for (name, label), contents in groups.items():
        own = [content for content in contents if owners[content] == 1]
        count = min(int(len(contents) * share + 0.5), len(contents) - 1)
        random = np.random.default_rng([seed, crc32(name.encode()), label])
        drawn.update(own[place] for place in random.permutation(len(own))[:count])
    rest = tuple(sample for sample in data.samples if images[sample.image] not in drawn)
    out = tuple(sample for sample in data.samples if images[sample.image] in drawn)
    return replace(data, samples=rest), replace(data, samples=out)
