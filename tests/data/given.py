"""A drawn class as a data set."""

from __future__ import annotations

from pathlib import Path

from aaclip_kit import DataSet, Sample


def data_set(root: Path, name: str = "cloth") -> DataSet:
    """Samples of a class folder that `write_class` made: normal ones first."""
    samples = []
    for kind in ("good", "spot"):
        for image in sorted((root / "test" / kind).iterdir()):
            mask = root / "ground_truth" / "spot" / f"{image.stem}_mask.png" if kind == "spot" else None
            samples.append(Sample(image, name, 1 if kind == "spot" else 0, mask))
    return DataSet(tuple(samples), {name: name})
