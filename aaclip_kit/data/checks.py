"""What must hold of the data before anything is trained or written."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError, UserErrors
from .pictures import open_mask, open_picture

MOST_FAULTS = 20


@dataclass(frozen=True)
class Fingerprint:
    """What a data set held: counts by class and label, and a checksum of every file's content."""

    counts: dict[str, dict[str, int]]
    sha256: str
    contents: dict[str, Path]
    """Checksum of each image to its path."""

    def as_record(self) -> dict[str, Any]:
        """The part that goes into the manifest."""
        count = sum(sum(found.values()) for found in self.counts.values())
        return {"count": count, "classes": list(self.counts), "counts": self.counts, "sha256": self.sha256}


def check_data_set(data: DataSet, where: str) -> None:
    """Decode every file and compare the sizes of masks. Raises `UserErrors` with up to 20 faults."""
    if not data.samples:
        raise UserError("the data set has no images", where=where, fix="point it at a folder that holds images")
    with ThreadPoolExecutor() as pool:
        faults = [fault for fault in pool.map(_fault_of, data.samples) if fault]
    if len(faults) > MOST_FAULTS:
        rest = UserError(f"and {len(faults) - MOST_FAULTS} more faulty files", where=where)
        faults = [*faults[:MOST_FAULTS], rest]
    if faults:
        raise UserErrors(faults)


def check_trainable(data: DataSet, where: str) -> None:
    """Training needs a mask for every anomalous image."""
    bare = [sample for sample in data.samples if sample.label and sample.mask is None]
    if bare:
        problem = f"{len(bare)} anomalous images have no mask, the first is {bare[0].image}"
        raise UserError(problem, where=where, fix="training needs masks; add them, or train on another data set")


def fingerprint(data: DataSet) -> Fingerprint:
    """Read every file once."""
    counts: dict[str, Counter[str]] = {}
    contents: dict[str, Path] = {}
    whole = hashlib.sha256()
    for sample in data.samples:
        counts.setdefault(sample.class_name, Counter())["anomalous" if sample.label else "normal"] += 1
        digest = _digest(sample.image)
        contents.setdefault(digest, sample.image)
        whole.update(f"{sample.class_name} {sample.label} {digest} ".encode())
        whole.update((_digest(sample.mask) if sample.mask else "-").encode())
    return Fingerprint({name: dict(count) for name, count in counts.items()}, whole.hexdigest(), contents)


def check_disjoint(first: Fingerprint, second: Fingerprint, names: tuple[str, str]) -> None:
    """Train and test data may not share an image, whatever its name."""
    shared = sorted(first.contents.keys() & second.contents.keys())
    if shared:
        pairs = ", ".join(f"{first.contents[key]} = {second.contents[key]}" for key in shared[:3])
        problem = f"{names[0]} and {names[1]} share {len(shared)} images by content: {pairs}"
        raise UserError(
            problem, where=f"{names[0]} / {names[1]}", fix="use other classes or another folder for one of them"
        )


def _fault_of(sample: Sample) -> UserError | None:
    try:
        size = open_picture(sample.image).size
        if sample.mask is not None:
            open_mask(sample.mask, size)
    except UserError as fault:
        return fault
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def class_counts(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
    """Normal and anomalous images of each class."""
    counts: dict[str, list[int]] = {}
    for sample in samples:
        counts.setdefault(sample.class_name, [0, 0])[sample.label] += 1
    return {name: (normal, anomalous) for name, (normal, anomalous) in counts.items()}
