"""The checks of a data set: the list of samples, the files behind them, and a run that trains on it."""

from collections import Counter
from pathlib import Path
from typing import Any, get_args

from ..contracts.data import DataSet, Domain, Sample
from ..contracts.errors import UserError
from ..data.checks import class_counts
from ..data.scan import scan_dataset
from .subject import Breach, NotApplicable, Subject
from .trial import run_tiny


def gives_samples(subject: Subject) -> None:
    """Types of all fields."""
    data = subject.make(DataSet)
    if not isinstance(data.samples, tuple) or not data.samples:
        raise Breach(f"samples is {'empty' if not data.samples else type(data.samples).__name__}")
    if strange := [sample for sample in data.samples if not isinstance(sample, Sample)]:
        raise Breach(f"among the samples is {strange[0]!r}")
    for sample in data.samples:
        paths = [sample.image, *([] if sample.mask is None else [sample.mask])]
        if strange_paths := [path for path in paths if not isinstance(path, Path)]:
            raise Breach(f"{strange_paths[0]!r} is no Path")
    if data.domain not in get_args(Domain):
        raise Breach(f"the domain is {data.domain!r}")
    if other := [fault for fault in data.faults if not isinstance(fault, UserError)]:
        raise Breach(f"among its faults is {other[0]!r}, which is no UserError")


def labels_are_0_or_1(subject: Subject) -> None:
    """Labels."""
    for sample in subject.make(DataSet).samples:
        if type(sample.label) is not int or sample.label not in (0, 1):
            raise Breach(f"{sample.image.name} has the label {sample.label!r}")


def classes_are_plain(subject: Subject) -> None:
    """Names of classes."""
    for name in subject.make(DataSet).classes:
        if not (isinstance(name, str) and name and name == name.strip() and name.isprintable()):
            raise Breach(f"there is a class {name!r}")
        if "/" in name or "\\" in name:
            raise Breach(f"the class '{name}' has a path for a name")


def classes_have_real_names(subject: Subject) -> None:
    """Real names of all classes."""
    data = subject.make(DataSet)
    for name in data.classes:
        if name not in data.real_names:
            raise Breach(f"the class '{name}' has no real name")
        real: Any = data.real_names[name]
        if not (isinstance(real, str) and any(letter.isalpha() for letter in real)):
            raise Breach(f"the class '{name}' has the real name {real!r}")


def order_repeats(subject: Subject) -> None:
    """Read twice."""
    one, two = subject.make(DataSet).samples, subject.make(DataSet).samples
    if one == two:
        return
    if Counter(one) == Counter(two):
        place = next(number for number, pair in enumerate(zip(one, two, strict=True)) if pair[0] != pair[1])
        raise Breach(f"read again, the order differs from sample {place} on")
    raise Breach(f"read again, the samples are others: {len(one)}, then {len(two)}")


def no_image_twice(subject: Subject) -> None:
    """Paths, resolved."""
    samples = subject.make(DataSet).samples
    images = Counter(sample.image.resolve() for sample in samples)
    path, count = images.most_common(1)[0]
    if count > 1:
        raise Breach(f"{path.name} is the image of {count} samples")
    masks = {sample.mask.resolve() for sample in samples if sample.mask}
    if both := sorted(masks & images.keys()):
        raise Breach(f"{both[0].name} is an image and a mask")


def images_decode(subject: Subject) -> None:
    """Read every file as the engine does."""
    data = subject.make(DataSet)
    if faults := scan_dataset(data).faults[len(data.faults) :]:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        where = (faults[0].where or "").replace("\\", "/").rpartition("/")[2]
        raise Breach(f"{where}: {faults[0].problem}{more}")


def masks_are_whole(subject: Subject) -> None:
    """Which anomalous images have masks, and what is in them."""
    scan = scan_dataset(subject.make(DataSet))
    anomalous = [(sample, facts) for sample, facts in scan.pairs if sample.label == 1]
    masked = {sample.class_name for sample, _ in anomalous if sample.mask}
    for sample, facts in anomalous:
        if sample.mask is None and sample.class_name in masked:
            raise Breach(f"{sample.image.name} has no mask, and other anomalous images of '{sample.class_name}' have")
        if facts.blank:
            raise Breach(f"the mask of {sample.image.name} is all black")


MOST_SHOTS = 2
"""Normal and anomalous images of each class: a run is to take seconds."""


def trains_in_a_run(subject: Subject) -> None:
    """Train on a few images of each class, and score the same."""
    data = subject.make(DataSet)
    if not any(sample.mask for sample in data.samples):
        raise NotApplicable("there is no mask to train on")
    counts = class_counts(data.samples).values()
    normal, anomalous = (min(MOST_SHOTS, *(count[label] for count in counts)) for label in (0, 1))
    shots = {"shots": {"normal": normal, "anomalous": anomalous}} if normal + anomalous else {}
    table = {**subject.chosen, **shots}
    with run_tiny(subject, data={"allow_overlap": True, "train": table, "test": table}) as trial:
        scored = trial.metrics["loops"][-1]["classes"]
        if missing := [name for name in data.classes if name not in scored]:
            raise Breach(f"the run has no result for {', '.join(missing)}")
