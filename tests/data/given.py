"""A drawn class as a data set, and what the tests of a run's data share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from aaclip_kit import DataSet, Sample
from aaclip_kit.data.load_data import Data

Loaded = Callable[..., Data]


def data_set(root: Path, name: str = "cloth") -> DataSet:
    """Samples of a class folder that `write_class` made: normal ones first."""
    samples = []
    for kind in ("good", "spot"):
        for image in sorted((root / "test" / kind).iterdir()):
            mask = root / "ground_truth" / "spot" / f"{image.stem}_mask.png" if kind == "spot" else None
            samples.append(Sample(image, name, 1 if kind == "spot" else 0, mask))
    return DataSet(tuple(samples), {name: name})


def copy_one(data: Path) -> None:
    """Copy an image of one class, by another name, into the other."""
    shutil.copy(data / "red_cloth" / "test" / "good" / "000.png", data / "green_wood" / "test" / "good" / "zzz.png")
