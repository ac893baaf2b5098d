"""Pictures of a run: which test cases are drawn, and how."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from ..contracts.data import DataSet, Sample
from ..data.pictures import open_picture, read_mask, resized
from ..evaluation.evaluate import ClassScores
from ..evaluation.rules import LabelledImage
from ..record.heatmap import save_heatmap


def rule_images(data: DataSet, size: int) -> dict[str, Iterator[LabelledImage]]:
    """Images and masks of each class as the rules see them, read one at a time."""
    return {
        name: _labelled([sample for sample in data.samples if sample.class_name == name], size) for name in data.classes
    }


def _labelled(samples: list[Sample], size: int) -> Iterator[LabelledImage]:
    for sample in samples:
        picture = open_picture(sample.image)
        mask = None if sample.mask is None else read_mask(sample.mask, picture.size, size)
        yield LabelledImage(np.asarray(resized(picture, size)), sample.label, mask)


def _plain(name: str) -> str:
    """A class of a manifest may be called anything; a file may not."""
    return re.sub(r"[^\w.-]+", "-", name)[:60]


@dataclass
class Cases:
    """Maps of a few test images, chosen by their place in the data, never by their score; the last loop's remain."""

    most: int
    maps: dict[str, list[tuple[Sample, np.ndarray]]] = field(default_factory=dict)
    values: dict[str, tuple[float, float]] = field(default_factory=dict)

    def keep(self, name: str, found: ClassScores) -> None:
        """Remember candidates of one class, anomalous and normal in turn, and the range of its values."""
        kinds = [self._spread(np.flatnonzero(found.labels == label)) for label in (1, 0)]
        places = [place for pair in zip_longest(*kinds) for place in pair if place is not None]
        if places:
            self.maps[name] = [(found.samples[place], found.maps[place].copy()) for place in places]
            low, high = np.quantile(found.maps, [0.01, 0.995])
            self.values[name] = (float(low), float(high))

    def _spread(self, places: np.ndarray) -> list[int]:
        """Up to `most` of the places, evenly over all of them."""
        chosen = np.linspace(0, max(len(places) - 1, 0), min(self.most, len(places))).astype(int)
        return list(dict.fromkeys(places[chosen].tolist()))

    def save(self, folder: Path, size: int) -> list[Path]:
        """Draw up to `most` cases, class after class in turn, on one colour scale."""
        paths: list[Path] = []
        if not self.maps:
            return paths
        scale = (min(low for low, _ in self.values.values()), max(high for _, high in self.values.values()))
        for sample, values in self._chosen():
            picture = open_picture(sample.image)
            mask = read_mask(sample.mask, picture.size, size) if sample.mask else None
            kind = sample.defect or ("anomalous" if sample.label else "normal")
            name = "_".join(_plain(part) for part in (sample.class_name, kind, sample.image.stem))
            path = folder / f"{len(paths):02d}_{name}.png"
            save_heatmap(path, np.asarray(resized(picture, size)), mask, values, scale)
            paths.append(path)
        return paths

    def _chosen(self) -> list[tuple[Sample, np.ndarray]]:
        turns = range(max(len(found) for found in self.maps.values()))
        in_turn = [found[turn] for turn in turns for found in self.maps.values() if turn < len(found)]
        return in_turn[: self.most]
