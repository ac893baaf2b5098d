"""The list of samples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

from ...contracts.data import DataSet, Domain, Sample
from ...contracts.errors import UserError
from ..check import Found
from ..subject import Subject


def read(subject: Subject) -> DataSet:
    """The data set."""
    data = subject.build()
    if not isinstance(data, DataSet):
        raise Found(f"the factory gave {type(data).__name__}, which is no DataSet")
    return data


def gives_samples(subject: Subject) -> None:
    """Types of all fields."""
    data = read(subject)
    if not isinstance(data.samples, tuple) or not data.samples:
        raise Found(f"samples is {'empty' if not data.samples else type(data.samples).__name__}")
    if strange := [sample for sample in data.samples if not isinstance(sample, Sample)]:
        raise Found(f"among the samples is {strange[0]!r}")
    for sample in data.samples:
        paths = [sample.image, *([] if sample.mask is None else [sample.mask])]
        if strange_paths := [path for path in paths if not isinstance(path, Path)]:
            raise Found(f"{strange_paths[0]!r} is no Path")
    if data.domain not in get_args(Domain):
        raise Found(f"the domain is {data.domain!r}")
    if other := [fault for fault in data.faults if not isinstance(fault, UserError)]:
        raise Found(f"among its faults is {other[0]!r}, which is no UserError")


def labels_are_0_or_1(subject: Subject) -> None:
    """Labels, and masks of normal images."""
    for sample in read(subject).samples:
        if type(sample.label) is not int or sample.label not in (0, 1):
            raise Found(f"{sample.image.name} has the label {sample.label!r}")
        if sample.label == 0 and sample.mask is not None:
            raise Found(f"{sample.image.name} is normal and has the mask {sample.mask.name}")


def classes_are_plain(subject: Subject) -> None:
    """Names of classes."""
    for name in read(subject).classes:
        if not (isinstance(name, str) and name and name == name.strip() and name.isprintable()):
            raise Found(f"there is a class {name!r}")
        if "/" in name or "\\" in name:
            raise Found(f"the class '{name}' has a path for a name")


def classes_have_real_names(subject: Subject) -> None:
    """Real names of all classes."""
    data = read(subject)
    for name in data.classes:
        if name not in data.real_names:
            raise Found(f"the class '{name}' has no real name")
        real: Any = data.real_names[name]
        if not (isinstance(real, str) and any(letter.isalpha() for letter in real)):
            raise Found(f"the class '{name}' has the real name {real!r}")


def order_repeats(subject: Subject) -> None:
    """Read twice."""
    one, two = read(subject).samples, read(subject).samples
    if one == two:
        return
    if Counter(one) == Counter(two):
        place = next(number for number, pair in enumerate(zip(one, two, strict=True)) if pair[0] != pair[1])
        raise Found(f"read again, the order differs from sample {place} on")
    raise Found(f"read again, the samples are others: {len(one)}, then {len(two)}")


def no_image_twice(subject: Subject) -> None:
    """Paths, resolved."""
    samples = read(subject).samples
    images = Counter(sample.image.resolve() for sample in samples)
    path, count = images.most_common(1)[0]
    if count > 1:
        raise Found(f"{path.name} is the image of {count} samples")
    masks = {sample.mask.resolve() for sample in samples if sample.mask}
    if both := sorted(masks & images.keys()):
        raise Found(f"{both[0].name} is an image and a mask")
