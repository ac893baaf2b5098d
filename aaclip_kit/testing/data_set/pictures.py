"""The files behind the samples."""

from __future__ import annotations

from ...data.scan import scan_dataset
from ..check import Found
from ..subject import Subject
from .samples import read


def images_decode(subject: Subject) -> None:
    """Read every file as the engine does."""
    data = read(subject)
    faults = scan_dataset(data).faults[len(data.faults) :]
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        where = (faults[0].where or "").replace("\\", "/").rpartition("/")[2]
        raise Found(f"{where}: {faults[0].problem}{more}")


def masks_are_whole(subject: Subject) -> None:
    """Which anomalous images have masks, and what is in them."""
    found = scan_dataset(read(subject))
    anomalous = [(sample, facts) for sample, facts in found.pairs if sample.label == 1]
    masked = {sample.class_name for sample, _ in anomalous if sample.mask}
    for sample, facts in anomalous:
        if sample.mask is None and sample.class_name in masked:
            raise Found(f"{sample.image.name} has no mask, and other anomalous images of '{sample.class_name}' have")
        if facts.blank:
            raise Found(f"the mask of {sample.image.name} is all black")
