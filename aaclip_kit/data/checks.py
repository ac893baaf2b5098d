"""What is to be said of data before anything is trained or written: faults that stop a run, and remarks that do not.

Faults are those of one data set, and the overlap of two roles: images, the data set itself, and names of classes.
"""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import combinations, islice, product
from pathlib import Path
from typing import Any, Final

import numpy as np

from ..contracts.data import MOST_LETTERS, DataSet, Sample
from ..contracts.errors import UserError, shortened
from ..experiment import ComponentConfig
from .copies import near_pairs, same_pixels
from .decode import FIRST_COLOUR
from .scan import DatasetScan, FileFacts

_MOST_LOOKED_AT, _MOST_BYTES = 5, 16 << 20
"""Files of one ending in a folder, and bytes of each, that are searched for annotations."""

_Pair = tuple[Sample, FileFacts]
_Paths = tuple[Path, Path]

MOST_SHOWN = 10
"""Faulty files of one data set that are named one by one on a screen."""


ONE_SIDED = "no normal image to train on: scores of whole images learn nothing, masks alone do"
"""The remark on training images of one label."""


def shown(faults: Sequence[UserError], where: str) -> list[UserError]:
    """The first faults, and one line with the number of the others."""
    more = len(faults) - MOST_SHOWN
    if more <= 0:
        return list(faults)
    fix = '`aakit data check ... --json` names every one; on_bad_image = "skip" goes on without them'
    return [*faults[:MOST_SHOWN], UserError(f"and {more} more, {len(faults)} in all", where=where, fix=fix)]


def untrainable(data: DataSet, where: str) -> list[UserError]:
    """Training needs anomalous images, and a mask for each of them."""
    anomalous = [sample for sample in data.samples if sample.label]
    if data.samples and not anomalous:
        problem = f"none of its {len(data.samples)} images is anomalous, so training would unlearn what an anomaly is"
        fix = "add anomalous images with masks, or train on another data set and use these as test images"
        return [UserError(problem, where=where, fix=fix)]
    bare = [sample for sample in anomalous if sample.mask is None]
    if not bare:
        return []
    problem = f"{len(bare)} anomalous images have no mask, the first is {bare[0].image}"
    return [UserError(problem, where=where, fix="training needs masks; add them, or train on another data set")]


def one_sided(data: DataSet) -> list[str]:
    """What is to be said of training images that are all anomalous: segmentation learns of them, detection does not."""
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


def remarks(scan: DatasetScan) -> list[str]:
    """What results on these images cannot say: a line for each kind, with the classes or files that it holds for."""
    counts = class_counts(scan.data.samples)
    bare = [sample for sample in scan.data.samples if sample.label and sample.mask is None]
    masked = {sample.class_name for sample in scan.data.samples if sample.mask}
    no_normal = [name for name, (normal, _) in counts.items() if not normal]
    no_anomalous = [name for name, (_, anomalous) in counts.items() if not anomalous]
    no_masks = list(dict.fromkeys(sample.class_name for sample in bare if sample.class_name not in masked))
    few_masks = [sample.image for sample in bare if sample.class_name in masked]
    black = [sample.image for sample, facts in scan.pairs if sample.label and facts.blank]
    repeated, opposed, near = _copies_within(scan)
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
        *_annotations([sample.image for sample in bare if sample.class_name in no_masks]),
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
        *_of_images(
            "masks are JPEGs, whose edges are not sharp: they are taken at half of the largest value",
            [sample.mask for sample, facts in scan.pairs if facts.is_lossy],
        ),
        *_of_images(
            "images are turned by an EXIF tag that their masks lack",
            [sample.image for sample, facts in masked_pairs if facts.turned_alone],
            "a mask is right if it was drawn on the upright image",
        ),
        *([f"{len(near)} images look like copies of others: {_first_of(near)}"] if near else []),
    ]


_MOST_MARKED: Final = 0.5
"""Share of a mask's pixels beyond which it may be inverted."""

_IGNORE: Final = "`ignore = 255` in the data's table leaves a value out"


def _values(facts: FileFacts) -> str:
    """The most frequent values with their counts."""
    shown = ", ".join(f"{_value(value)} ({count:,} pixels)" for value, count in facts.values[:3])
    return f"{shown} and {len(facts.values) - 3} more" if len(facts.values) > 3 else shown


def _value(value: int | float) -> str:
    return f"{value:g}" if value < FIRST_COLOUR else f"#{int(value) - FIRST_COLOUR:06x}"


def _of_classes(text: str, names: list[str]) -> list[str]:
    return [text.format(", ".join(names))] if names else []


def _of_images(text: str, found: Sequence[object], advice: str = "") -> list[str]:
    """One line for all that were found, which names the first of them."""
    return [f"{len(found)} {text}; the first is {found[0]}" + (f"; {advice}" if advice else "")] if found else []


_MARKS = (
    (".json", re.compile(rb'"annotations"\s*:'), "COCO"),
    (".json", re.compile(rb'"(shapes|regions)"\s*:'), "LabelMe"),
    (".xml", re.compile(rb"<annotations?\b"), "VOC"),
    (".txt", re.compile(rb"\s*\d+([ \t]+[-\d.e]+){4,}\s*(\n|$)"), "YOLO"),
)
"""Ending, content and name of the formats in which boxes and outlines are drawn on images."""


def _annotations(images: Sequence[Path]) -> list[str]:
    """A remark on such files beside images without masks, up to four folders above them."""
    places = dict.fromkeys(above for image in images for above in list(image.parents)[:4])
    found: dict[str, Path] = {}
    for place in places:
        with suppress(OSError):
            inner = [path for path in place.iterdir() if path.name.lower() in ("annotations", "labels", "json", "xml")]
            for folder in (place, *filter(Path.is_dir, inner)):
                for kind, file in _annotation_files(folder):
                    found.setdefault(kind, file)
    if not found:
        return []
    told = ", ".join(f"{path} ({kind})" for kind, path in found.items())
    how = "draw its outlines white on black, one file of each image's size, and give them as masks"
    return [f"annotations beside images without masks are not read, such as {told}: {how}"]


def _annotation_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """The first of a folder's files in each format; of an ending, a few are looked into."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for ending, mark, kind in _MARKS:
        for file in [path for path in files if path.suffix.lower() == ending][:_MOST_LOOKED_AT]:
            with file.open("rb") as content:
                head = content.read(_MOST_BYTES)
            if mark.match(head) if ending == ".txt" else mark.search(head):
                yield kind, file
                break


def not_comparable(data: DataSet, read: DatasetScan) -> str | None:
    """Why results on what was read are not comparable with published figures; None where they are, or none exist."""
    count = len(data.samples) + len(data.faults)
    if data.name and data.not_comparable is None and len(read.facts) < count:
        return f"{len(read.facts)} of its {count} images are used"
    return data.not_comparable


def _copies_within(scan: DatasetScan) -> tuple[list[Path], list[str], list[_Paths]]:
    """Images whose picture an earlier one has; those with another label than it; pairs that look like copies."""
    first: dict[str, _Pair] = {}
    pairs = [(first.setdefault(pair[1].pixels, pair), pair) for pair in scan.pairs]
    same = [(one[0], other[0]) for one, other in pairs if one is not other and _same_picture(one, other)]
    opposed = [f"{one.image} and {other.image}" for one, other in same if one.label != other.label]
    return [other.image for _, other in same], opposed, _near(scan, scan)


def _shared(first: DatasetScan, second: DatasetScan) -> dict[str, _Paths]:
    """Images of the second that hold the same picture as one of the first, which comes first, by their checksum."""
    known = {pair[1].pixels: pair for pair in first.pairs}
    both = ((known[pair[1].pixels], pair) for pair in second.pairs if pair[1].pixels in known)
    return {mine[1].pixels: (mine[0].image, pair[0].image) for mine, pair in both if _same_picture(mine, pair)}


def _same_picture(one: _Pair, other: _Pair) -> bool:
    # The checksum of pixels has not looked at all of them.
    return one[1].image == other[1].image or same_pixels(one[0].image, other[0].image)


def _near(first: DatasetScan, second: DatasetScan, same: Container[str] = ()) -> list[_Paths]:
    """Pairs that look like copies, without `same`: checksums of the second's pictures that are shared already."""
    mine = _different(first)
    theirs = mine if second is first else [pair for pair in _different(second) if pair[1].pixels not in same]
    if not (mine and theirs):
        return []
    looks = np.array([facts.look for _, facts in mine])
    others = looks if theirs is mine else np.array([facts.look for _, facts in theirs])
    return [(mine[one][0].image, theirs[other][0].image) for one, other in near_pairs(looks, others)]


def _different(scan: DatasetScan) -> list[_Pair]:
    """The first image of each picture: one that is there twice would have no neighbour but itself."""
    return list({pair[1].pixels: pair for pair in reversed(scan.pairs)}.values())[::-1]


def _first_of(pairs: Iterable[_Paths]) -> str:
    return ", ".join(f"{one} = {other}" for one, other in islice(pairs, 3))


def class_counts(samples: Iterable[Sample]) -> dict[str, tuple[int, int]]:
    """Normal and anomalous images of each class."""
    counts: dict[str, list[int]] = {}
    for sample in samples:
        counts.setdefault(sample.class_name, [0, 0])[sample.label] += 1
    return {name: (normal, anomalous) for name, (normal, anomalous) in counts.items()}


@dataclass
class Found:
    """What was found of a data set; `scan` is None where it could not be built at all."""

    scan: DatasetScan | None = None
    faults: list[UserError] = field(default_factory=list)
    """What a run stops at."""
    notes: list[str] = field(default_factory=list)
    """Lines for the user."""
    record: dict[str, Any] = field(default_factory=dict)
    """What the run's manifest says beside the fingerprint."""


@dataclass(kw_only=True)
class RoleTable(Found):
    """One data set of a role: its table in the experiment file, its name in results, and what was found of it."""

    where: str
    label: str
    chosen: ComponentConfig


@dataclass(kw_only=True)
class Role(Found):
    """The data set of a role: that of its table, or those of its tables, joined."""

    name: str
    tables: tuple[RoleTable, ...]

    @property
    def where(self) -> str:
        """The role's table, or array of tables, in the experiment file."""
        return f"data.{self.name}"


ALLOWED, NOT_ZERO_SHOT, NEAR = "allow_overlap is set", "not zero-shot", "near copies"
"""How the notes begin that a reader of results must see before any figure."""

_FIX = "use other classes or another folder for one of them, or set allow_overlap = true in [data]"


def compare(roles: Sequence[Role], allowed: bool) -> list[UserError]:
    """Faults between roles: a shared image, one data set in two roles, two real names of one class.

    Where overlap is allowed it is no fault: the later role's part of the manifest gets `overlap_allowed` and
    `shared_images` (how many of its images, by content, an earlier role has too), and its notes say so. They also name
    classes that two roles share, and pictures that look like copies of an earlier role's: the manifest's `near_copies`
    has all pairs.
    """
    faults: list[UserError] = []
    shared: dict[str, set[str]] = {}
    for (one, first), (other, second) in combinations([(role, role.scan) for role in roles if role.scan], 2):
        faults += _two_real_names(one, first, other, second)
        if both := [name for name in second.data.classes if name in first.data.classes]:
            other.notes.append(f"{NOT_ZERO_SHOT}: {one.where} has classes of the same name: {', '.join(both)}")
        images = _shared(first, second)
        _note_near(one, first, other, second, images)
        if not (problem := _overlap(one, other, list(images.values()))):
            continue
        if allowed:
            other.notes.append(f"{ALLOWED}: {problem}")
            shared.setdefault(other.name, set()).update(images)
            other.record |= {"overlap_allowed": True, "shared_images": len(shared[other.name])}
        else:
            faults.append(UserError(problem, where=f"{one.where} / {other.where}", fix=_FIX))
    return faults


def _note_near(one: Role, first: DatasetScan, other: Role, second: DatasetScan, same: Container[str]) -> None:
    if near := _near(first, second, same):
        text = f"{len(near)} images look like copies of those of {one.where}, saved anew, resized or cropped"
        other.notes.append(f"{NEAR}: {text}: {_first_of(near)}")
        other.record.setdefault("near_copies", []).extend([str(mine), str(theirs)] for mine, theirs in near)


def _overlap(one: Role, other: Role, images: list[_Paths]) -> str | None:
    """What two roles have in common that they must not; `images` names those that both have."""
    if images:
        return f"{one.where} and {other.where} share {len(images)} images by content: {_first_of(images)}"
    problems = (_same_set(mine, theirs) for mine, theirs in product(one.tables, other.tables))
    return next((problem for problem in problems if problem), None)


def _same_set(one: RoleTable, other: RoleTable) -> str | None:
    """How two tables are one data set, where they are."""
    names = f"{one.where} and {other.where}"
    published, others = (table.scan.data.name if table.scan else None for table in (one, other))
    if published and published == others:
        return f"{names} are both the data set {published}"
    if (one.chosen.component, one.chosen.options) == (other.chosen.component, other.chosen.options):
        return f"{names} are the same data set with the same options"
    return None


def _two_real_names(one: Role, first: DatasetScan, other: Role, second: DatasetScan) -> list[UserError]:
    """Prompts go by class, so a class of two roles has one real name."""
    mine, theirs, where = first.data.real_names, second.data.real_names, f"{other.where}.real_names"
    clashing = [name for name in second.data.classes if name in theirs and mine.get(name, theirs[name]) != theirs[name]]
    problems = (f"class '{name}' is '{mine[name]}' in {one.where} and '{theirs[name]}' here" for name in clashing)
    return [UserError(problem, where=where, fix="give it one real name in both") for problem in problems]
