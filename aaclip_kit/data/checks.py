"""What is to be said of one data set before anything is trained or written: faults that stop a run, and remarks."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from ..contracts.data import MOST_LETTERS, DataSet, Sample
from ..contracts.errors import UserError, in_short, plain, shortened
from .annotations import annotations
from .decode import FIRST_COLOUR
from .scan import DatasetScan, FileFacts
from .shared_pictures import copies_within, first_pairs

MOST_SHOWN = 10
"""Faulty files of one data set that are named one by one on a screen."""


ONE_SIDED = "no normal image to train on: scores of whole images learn nothing, masks alone do"
"""The remark on training images of one label."""

BY_LABELS = "no loss reads masks: training teaches scores of whole images, and not where a defect is"
"""The remark on training by labels alone."""


def shown(faults: Sequence[UserError], where: str) -> list[UserError]:
    """The first faults, and one line with the number of the others."""
    more = len(faults) - MOST_SHOWN
    if more <= 0:
        return list(faults)
    fix = '`aakit data check ... --json` names every one; on_bad_image = "skip" goes on without them'
    return [*faults[:MOST_SHOWN], UserError(f"and {more} more, {len(faults)} in all", where=where, fix=fix)]


def untrainable(data: DataSet, where: str, *, by_masks: bool = True) -> list[UserError]:
    """Training needs anomalous images and, where a loss reads masks, one for each; without, normal images too."""
    anomalous = [sample for sample in data.samples if sample.label]
    if data.samples and not anomalous:
        problem = f"none of its {len(data.samples)} images is anomalous, so training would unlearn what an anomaly is"
        fix = "add anomalous images, train on another data set and use these as test images, or make defects on them"
        return [UserError(problem, where=where, fix=f'{fix}: use = "pasted"')]
    bare = [sample for sample in anomalous if sample.mask is None]
    if by_masks and bare:
        problem = f"{len(bare)} anomalous images have no mask, the first is {bare[0].image}"
        fix = "add masks, train on another data set, or use losses of whole images alone, such as image_cross_entropy"
        return [UserError(problem, where=where, fix=fix)]
    if not by_masks and data.samples and len(anomalous) == len(data.samples):
        problem = f"all of its {len(anomalous)} images are anomalous, and losses of whole images learn nothing of that"
        return [UserError(problem, where=where, fix="add normal images, or a loss of maps such as segmentation")]
    return []


def training_limits(data: DataSet, *, by_masks: bool = True) -> list[str]:
    """What training on these images cannot teach."""
    if not by_masks:
        return [BY_LABELS]
    return [] if any(not sample.label for sample in data.samples) else [ONE_SIDED]


def unnamed(data: DataSet, where: str) -> list[UserError]:
    """Prompts are made of real names, so every class needs one."""
    problem, fix = "the data set gives no real name for its class", "its plugin must name every class in real_names"
    missing = [name for name in data.classes if name not in data.real_names]
    return [UserError(f"{problem} '{name}'", where=where, fix=fix) for name in missing]


def unshowable(data: DataSet, where: str) -> list[UserError]:
    """A class's name stands in files and on screens, so it may hold no control character and no broken encoding."""
    fix = "rename the class, in letters, digits, blanks and signs that can be shown, in UTF-8"
    bad = [name for name in data.classes if not name.isprintable()]
    faults = [UserError(f"the name of class {name!r} holds what cannot be shown", where=where, fix=fix) for name in bad]
    long, fix = [name for name in data.classes if len(name) > MOST_LETTERS], f"name it in at most {MOST_LETTERS}"
    problem = "the name of class '{}' has {:,} characters"
    texts = (problem.format(shortened(name, 80), len(name)) for name in long)
    return [*faults, *(UserError(text, where=where, fix=fix) for text in texts)]


def remarks(scan: DatasetScan, is_normal: bool = False) -> list[str]:
    """What results on these images cannot say: a line for each kind, with the classes or files that it holds for.

    `is_normal`: the images are all normal, as they should be.
    """
    counts = class_counts(scan.data.samples)
    bare = [sample for sample in scan.data.samples if sample.label and sample.mask is None]
    masked = {sample.class_name for sample in scan.data.samples if sample.mask}
    no_normal = [name for name, (normal, _) in counts.items() if not normal]
    no_anomalous = [name for name, (_, anomalous) in counts.items() if not anomalous and not is_normal]
    no_masks = list(dict.fromkeys(sample.class_name for sample in bare if sample.class_name not in masked))
    few_masks = [sample.image for sample in bare if sample.class_name in masked]
    black = [sample.image for sample, facts in scan.pairs if sample.label and facts.blank]
    repeated, opposed, near = copies_within(scan)
    masked_pairs = [(sample, facts) for sample, facts in scan.pairs if facts.marked]
    white = [f"{sample.mask} ({facts.marked:.0%})" for sample, facts in masked_pairs if facts.marked > _MOST_MARKED]
    mixed = [f"{sample.mask}: {_values(facts)}" for sample, facts in masked_pairs if len(facts.values) > 1]
    images_of: dict[tuple[str, str | None], dict[str, Path]] = {}
    for sample, facts in masked_pairs:
        images_of.setdefault((sample.class_name, facts.mask), {}).setdefault(facts.image, sample.image)
    shared = [" and ".join(map(str, images.values())) for images in images_of.values() if len(images) > 1]
    return [
        *scan.data.notes,
        *_of_classes("no normal images in {}: image AUROC undefined", no_normal),
        *_of_classes("no anomalous images in {}: results undefined", no_anomalous),
        *_of_classes("no masks in {}: image-level results only", no_masks),
        *annotations([sample.image for sample in bare if sample.class_name in no_masks]),
        *_of_images("anomalous images lack a mask that others of their class have: image results only", few_masks),
        *_of_images("anomalous images have a mask that is all black", black),
        *_of_images("images are there a second time", repeated),
        *_of_images("pictures are normal in one file and anomalous in another", opposed),
        *_of_images(
            "masks have more than one value that is not black, and all of them count as anomalous", mixed, _IGNORE
        ),
        *_of_images(
            f"masks are more than {_MOST_MARKED:.0%} white, as inverted ones are, and white is anomalous",
            white,
            f"then {', '.join(white[1:MOST_SHOWN])}" if white[1:] else "",
        ),
        *_of_images("masks lie on several images of their class", shared),
        *previews(scan.pairs),
        *_of_images(
            "masks are JPEGs, whose edges are not sharp: they are taken at half of the largest value",
            [sample.mask for sample, facts in scan.pairs if facts.is_lossy],
        ),
        *_of_images(
            "images are turned otherwise than their masks by an EXIF tag",
            [sample.image for sample, facts in masked_pairs if facts.turned_apart],
            "a mask is right if, upright, it was drawn on the upright image",
        ),
        *([f"{len(near)} images look like copies of others: {first_pairs(near)}"] if near else []),
    ]


_MOST_MARKED: Final = 0.5
"""Share of a mask's pixels beyond which it may be inverted."""

_IGNORE: Final = "`ignore = 255` in the data's table leaves a value out"


def _values(facts: FileFacts) -> str:
    """The most frequent values with their counts."""
    return in_short((f"{_value(value)} ({count:,} pixels)" for value, count in facts.values), 3)


def _value(value: int | float) -> str:
    return f"{value:g}" if value < FIRST_COLOUR else f"#{int(value) - FIRST_COLOUR:06x}"


def previews(pairs: Iterable[tuple[Sample, FileFacts]]) -> list[str]:
    """A remark on images whose files hold more than the picture that is looked at."""
    return remark_on_previews([sample.image for sample, facts in pairs if facts.passed_over])


def remark_on_previews(found: Sequence[Path]) -> list[str]:
    """The same, of the images that have such."""
    return _of_images("images have previews, or maps of gain or depth, in their files, which are not looked at", found)


def remark_on_remembered(found: Sequence[Path]) -> list[str]:
    """Say which images the model remembers, whose scores say nothing of new ones."""
    return _of_images("of the images are remembered by the model, which finds them too normal", found)


def first_faults(faults: Sequence[UserError], count: int) -> list[UserError]:
    """The first of `count` faults, and one line with the number of the others."""
    first = list(faults[:MOST_SHOWN])
    problem = f"{count - len(first)} more images cannot be used, {count} in all"
    rest = [UserError(problem, fix="--on-bad-image skip goes on without them")] if count > len(first) else []
    return [*first, *rest]


def _of_classes(text: str, names: list[str]) -> list[str]:
    return [text.format(", ".join(names))] if names else []


def _of_images(text: str, found: Sequence[object], advice: str = "") -> list[str]:
    """One line for all that were found, which names the first of them."""
    if not found:
        return []
    return [f"{len(found)} {text}; the first is {plain(str(found[0]))}" + (f"; {advice}" if advice else "")]


def not_comparable(data: DataSet, read: DatasetScan) -> str | None:
    """Why results on what was read are not comparable with published figures; None where they are, or none exist."""
    count = len(data.samples) + len(data.faults)
    if data.name and data.not_comparable is None and len(read.facts) < count:
        return f"{len(read.facts)} of its {count} images are used"
    return data.not_comparable


def class_counts(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
    """Normal and anomalous images of each class."""
    counts: dict[str, list[int]] = {}
    for sample in samples:
        counts.setdefault(sample.class_name, [0, 0])[sample.label] += 1
    return {name: (normal, anomalous) for name, (normal, anomalous) in counts.items()}
