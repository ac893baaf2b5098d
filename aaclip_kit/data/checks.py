"""What is to be said of data before anything is trained or written: faults that stop a run, and remarks that do not."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..contracts.data import DataSet, Sample
from ..contracts.errors import UserError
from .scan import DatasetScan

MOST_SHOWN = 10
"""Faulty files of one data set that are named one by one on a screen."""


def shown(faults: Sequence[UserError], where: str) -> list[UserError]:
    """The first faults, and one line with the number of the others."""
    more = len(faults) - MOST_SHOWN
    if more <= 0:
        return list(faults)
    fix = '`aakit data check ... --json` names every one; on_bad_image = "skip" goes on without them'
    return [*faults[:MOST_SHOWN], UserError(f"and {more} more, {len(faults)} in all", where=where, fix=fix)]


def untrainable(data: DataSet, where: str) -> list[UserError]:
    """Training needs a mask for every anomalous image."""
    bare = [sample for sample in data.samples if sample.label and sample.mask is None]
    if not bare:
        return []
    problem = f"{len(bare)} anomalous images have no mask, the first is {bare[0].image}"
    return [UserError(problem, where=where, fix="training needs masks; add them, or train on another data set")]


def unnamed(data: DataSet, where: str) -> list[UserError]:
    """Prompts are made of real names, so every class needs one."""
    fix = "its plugin must name every class in real_names"
    missing = [name for name in data.classes if name not in data.real_names]
    return [
        UserError(f"the data set gives no real name for its class '{name}'", where=where, fix=fix) for name in missing
    ]


def unshowable(data: DataSet, where: str) -> list[UserError]:
    """A class's name stands in files and on screens, so it may hold no control character and no broken encoding."""
    fix = "rename the class, in letters, digits, blanks and signs that can be shown, in UTF-8"
    bad = [name for name in data.classes if not name.isprintable()]
    return [UserError(f"the name of class {name!r} holds what cannot be shown", where=where, fix=fix) for name in bad]


def remarks(found: DatasetScan) -> list[str]:
    """What results on these images cannot say: a line for each kind, with the classes or files that it holds for."""
    counts = class_counts(found.data.samples)
    bare = [sample for sample in found.data.samples if sample.label and sample.mask is None]
    masked = {sample.class_name for sample in found.data.samples if sample.mask}
    no_normal = [name for name, (normal, _) in counts.items() if not normal]
    no_anomalous = [name for name, (_, anomalous) in counts.items() if not anomalous]
    no_masks = list(dict.fromkeys(sample.class_name for sample in bare if sample.class_name not in masked))
    few_masks = [sample.image for sample in bare if sample.class_name in masked]
    black = [sample.image for sample, facts in found.pairs if sample.label and facts.blank]
    return [
        *found.data.notes,
        *_of_classes("no normal images in {}: image AUROC undefined", no_normal),
        *_of_classes("no anomalous images in {}: results undefined", no_anomalous),
        *_of_classes("no masks in {}: image-level results only", no_masks),
        *_of_images("anomalous images lack a mask that others of their class have: image results only", few_masks),
        *_of_images("anomalous images have a mask that is all black", black),
        *_of_images("images are there a second time", _repeated(found)),
    ]


def _of_classes(text: str, names: list[str]) -> list[str]:
    return [text.format(", ".join(names))] if names else []


def _of_images(text: str, paths: list[Path]) -> list[str]:
    return [f"{len(paths)} {text}; the first is {paths[0]}"] if paths else []


def class_counts(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
    """Normal and anomalous images of each class."""
    counts: dict[str, list[int]] = {}
    for sample in samples:
        counts.setdefault(sample.class_name, [0, 0])[sample.label] += 1
    return {name: (normal, anomalous) for name, (normal, anomalous) in counts.items()}


def _repeated(found: DatasetScan) -> list[Path]:
    """Images whose content another has too, but for the first of each."""
    first = {facts.image: sample.image for sample, facts in reversed(found.pairs)}
    return [sample.image for sample, facts in found.pairs if first[facts.image] != sample.image]
