"""Which images of the source the thresholds are chosen on; test images never are."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np

from ..contracts.data import DataSet
from .load_data import Data


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
    kept, drawn = split(data.sets["train"], data.fingerprints["train"].images, share, seed)
    if not drawn.samples:
        return data, HeldOut(f"no image, since {share:g} of data.train comes to none", drawn)
    record = {**data.records["train"], "held_out": [str(sample.image) for sample in drawn.samples]}
    rest = replace(data, sets={**data.sets, "train": kept}, records={**data.records, "train": record})
    return rest, HeldOut(f"{share:g} of data.train, kept out of training", drawn)


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
