"""Which images of the source the thresholds are chosen on; test images never are."""

from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from ..contracts.data import DataSet, Sample
from .sources import Data


@dataclass(frozen=True)
class HeldOut:
    """Images for calibration, perhaps none, and where they are from, in words."""

    source: str
    data: DataSet


def held_out(data: Data, share: float, seed: int) -> tuple[Data, HeldOut]:
    """The data that a run goes on with, and the calibration images.

    They are role `calibration` if there is one, else role `validation`, else a share of the training images, which
    role `train` then lacks and the manifest names.
    """
    for role in ("calibration", "validation"):
        if role in data.sets:
            return data, HeldOut(f"data.{role}", data.sets[role])
    kept, drawn = split(data.sets["train"], share, seed)
    if not drawn.samples:
        return data, HeldOut(f"no image, since {share:g} of data.train comes to none", drawn)
    record = {**data.records["train"], "held_out": [str(sample.image) for sample in drawn.samples]}
    rest = replace(data, sets={**data.sets, "train": kept}, records={**data.records, "train": record})
    return rest, HeldOut(f"{share:g} of data.train, kept out of training", drawn)


def split(data: DataSet, share: float, seed: int) -> tuple[DataSet, DataSet]:
    """The rest and a share of a data set, both in its order.

    Of each class and label the nearest whole number of images is drawn, never all. What is drawn of one class does not
    depend on the others.
    """
    groups: dict[tuple[str, int], list[Sample]] = {}
    for sample in data.samples:
        groups.setdefault((sample.class_name, sample.label), []).append(sample)
    drawn: set[Sample] = set()
    for (name, label), samples in groups.items():
        count = min(int(len(samples) * share + 0.5), len(samples) - 1)
        random = np.random.default_rng([seed, crc32(name.encode()), label])
        drawn.update(samples[place] for place in random.permutation(len(samples))[:count])
    rest = tuple(sample for sample in data.samples if sample not in drawn)
    return replace(data, samples=rest), replace(data, samples=tuple(s for s in data.samples if s in drawn))
