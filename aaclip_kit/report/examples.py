"""Test images that a report shows: what each loop said about them, by what rule they are chosen, their pictures."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, Shaped

from ..contracts.data import DataSet, Sample
from ..contracts.options import TowerName
from ..data.decoded import read_picture_and_mask
from ..data.loader import Pixels, test_batches
from ..distributed.collectives import all_gather_object
from ..distributed.ranks import Ranks
from ..evaluation.evaluator import BatchCallback, ScoredBatch
from ..model.anomaly_model import AnomalyModel
from ..record.examples_file import Example, ExamplesFile
from ..record.heatmap import enlarged, save_heatmap
from ..record.run_folder import RunFolder
from .attention_maps import Shown, attention_record
from .run_files import named

MOST_OF_A_CLASS: Final = 2000
MOST_OF_ALL: Final = 10_000
"""Images whose maps are kept, evenly spread: 37 x 37 numbers each, so 55 MB a loop at most."""

_SCALE_IMAGES: Final = 100
"""Images of a loop, evenly spread, that the colour scale is taken from."""

RULE: Final = (
    "anomalous images by the pixel AP of the image alone, or by their image score where no mask is known; "
    "normal images by their image score, the lowest being the best"
)


@dataclass
class LoopOutcome:
    """What one loop said about the images that are kept, in their order. `quality` is the pixel AP of one image."""

    loop: int
    grids: list[Float32[np.ndarray, "G G"]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    quality: list[float | None] = field(default_factory=list)

    def add(self, batch: ScoredBatch, place: int) -> None:
        """Keep one image of a batch."""
        mask = batch.known_masks[place]
        self.grids.append(batch.grid[place].copy())
        self.scores.append(float(batch.image_scores[place]))
        self.quality.append(None if mask is None else pixel_ap(batch.maps[place], mask))


class Examples:
    """Small maps of the test images, loop after loop. With `most` = 0 nothing is kept and nothing is chosen."""

    def __init__(self, data: DataSet, most: int) -> None:
        self.most, self.loops = most, list[LoopOutcome]()
        self.samples: list[Sample] = []
        self._places: dict[str, set[int]] = {}
        bound = min(MOST_OF_A_CLASS, MOST_OF_ALL // max(1, len(data.classes))) if most else 0
        for name in data.classes:
            samples = [sample for sample in data.samples if sample.class_name == name]
            places = spread(range(len(samples)), bound)
            self._places[name] = set(places)
            self.samples += [samples[place] for place in places]

    def keeper(self, loop: int, shares: Mapping[str, range] | None = None) -> BatchCallback:
        """What the evaluation of a loop calls with each class's batches, in the order of the data.

        `shares` has the images of each class that are scored here, where that is not all of them; `merge` then adds
        what the other ranks have kept.
        """
        outcome = LoopOutcome(loop)
        seen = Counter({name: share.start for name, share in (shares or {}).items()})
        self.loops.append(outcome)

        def on_batch(name: str, batch: ScoredBatch) -> None:
            for place in range(len(batch.samples)):
                if seen[name] in self._places[name]:
                    outcome.add(batch, place)
                seen[name] += 1

        return on_batch

    def merge(self, ranks: Ranks) -> None:
        """Make the last loop's outcome that of all ranks' images, whose shares stand in the order of the data."""
        outcome = self.loops[-1]
        parts = all_gather_object(ranks, outcome)
        outcome.grids = [grid for part in parts for grid in part.grids]
        outcome.scores = [score for part in parts for score in part.scores]
        outcome.quality = [quality for part in parts for quality in part.quality]

    def even(self) -> list[int]:
        """Up to `most` images, the same number of each class and label if there are enough; classes in turn.

        Defects stand in order within a class, so each class's images are taken from another place of its stretches.
        """
        of_classes: list[list[int]] = []
        for each in range(1, min(self.most, len(self.samples)) + 1):
            shifted = ((name, (2 * number + 1) / (2 * len(self._places))) for number, name in enumerate(self._places))
            of_classes = [list(self._alternating(name, shift, each)) for name, shift in shifted]
            if sum(map(len, of_classes)) >= self.most:
                break
        in_turn = [place for turn in zip_longest(*of_classes) for place in turn if place is not None]
        return in_turn[: self.most]

    def ranked(self, loop: int) -> dict[str, int]:
        """Best, median and worst image of each label by what a loop said, as `RULE` states; first come, first kept."""
        (outcome,) = (outcome for outcome in self.loops if outcome.loop == loop)
        places = range(len(self.samples))
        anomalous = [place for place in places if self.samples[place].label]
        with_mask = [place for place in anomalous if outcome.quality[place] is not None]
        orders = {
            "anomalous": sorted(with_mask, key=lambda place: -(outcome.quality[place] or 0.0))
            or sorted(anomalous, key=lambda place: -outcome.scores[place]),
            "normal": sorted(set(places) - set(anomalous), key=lambda place: (outcome.scores[place], place)),
        }
        return {
            f"{rank} {label}": order[at]
            for label, order in orders.items() if order
            for rank, at in (("best", 0), ("median", (len(order) - 1) // 2), ("worst", -1))
        }  # fmt: skip

    def scale(self) -> tuple[float, float]:
        """One colour scale for all loops: 1st and 99.5th percentile of map values."""
        places = spread(range(len(self.samples)), _SCALE_IMAGES)
        low, high = np.quantile([outcome.grids[place] for outcome in self.loops for place in places], [0.01, 0.995])
        return float(low), float(high)

    def _alternating(self, name: str, shift: float, each: int) -> Iterator[int]:
        """Up to `each` anomalous and normal images of a class, in turn."""
        places = [place for place, sample in enumerate(self.samples) if sample.class_name == name]
        kinds = [[place for place in places if self.samples[place].label == label] for label in (1, 0)]
        pairs = zip_longest(*(spread(kind, each, shift) for kind in kinds))
        return (place for pair in pairs for place in pair if place is not None)


def spread(places: Sequence[int], most: int, shift: float = 0.5) -> list[int]:
    """Up to `most` of the places, one of each of as many equal stretches, at `shift` (0 to 1) of its length."""
    count = min(most, len(places))
    return [places[int((stretch + shift) * len(places) / count)] for stretch in range(count)]


def pixel_ap(anomaly_map: Float32[np.ndarray, "S S"], mask: Shaped[np.ndarray, "S S"]) -> float | None:
    """The pixel AP of one image; None without marked pixels, or without others.

    Two sorts of values are several times quicker than the counts that add up over images.
    """
    marked, normal = anomaly_map[mask > 0], anomaly_map[mask == 0]
    if not (len(marked) and len(normal)):
        return None
    positives, counts = np.unique(marked, return_counts=True)
    true = np.cumsum(counts[::-1])[::-1]
    negatives = np.sort(normal)
    false = len(negatives) - np.searchsorted(negatives, positives)
    return float(np.dot(true / (true + false), counts) / counts.sum())


EXAMPLE_SIDE: Final = 256
"""Largest side of an example's picture in the run folder, in pixels."""


def save_pictures(
    examples: Examples,
    quoted: int,
    folder: RunFolder,
    *,
    model: AnomalyModel,
    pixels: Pixels,
    real_names: Mapping[str, str],
    attending: Set[TowerName],
) -> None:
    """Write heatmaps, examples and where the stages look; nothing where nothing is to be drawn."""
    if not examples.samples:
        return
    # Each image that is shown, and why: the evenly spread ones first, then those that the ranking adds.
    places: dict[int, list[str]] = {place: ["even"] for place in examples.even()}
    for reason, place in examples.ranked(quoted).items():
        places.setdefault(place, []).append(reason)
    scale = examples.scale()
    _save_heatmaps(examples, folder.heatmaps, scale=scale, size=pixels.size)
    file = _examples_file(examples, places, quoted, scale=scale, side=min(EXAMPLE_SIDE, pixels.size))
    file.write(folder.examples)
    of_places = ((examples.samples[place], chosen) for place, chosen in places.items())
    shown = [
        _shown(sample, number, pixels, real_name=real_names[sample.class_name], device=model.device)
        for number, (sample, chosen) in enumerate(of_places)
        if any(reason.endswith("anomalous") for reason in chosen)
    ]
    folder.write_attention(attention_record(model, shown, attending))


def _examples_file(
    examples: Examples, places: dict[int, list[str]], quoted: int, *, scale: tuple[float, float], side: int
) -> ExamplesFile:
    pictures, masks = zip(*(read_picture_and_mask(examples.samples[place], side) for place in places), strict=True)
    return ExamplesFile(
        examples=tuple(_example(examples, place, chosen) for place, chosen in places.items()),
        loops=tuple(outcome.loop for outcome in examples.loops),
        scale=scale,
        rule=f"{'on ' if quoted else ''}{named(quoted)}, {RULE}",
        pictures=np.stack(pictures),
        masks=np.stack([np.zeros((side, side), bool) if mask is None else mask > 0 for mask in masks]),
        grids=np.stack([[outcome.grids[place] for outcome in examples.loops] for place in places]),
    )


def _example(examples: Examples, place: int, chosen: list[str]) -> Example:
    sample = examples.samples[place]
    return Example(
        class_name=sample.class_name,
        image=sample.image.name,
        label=sample.label,
        defect=sample.defect,
        masked=sample.mask is not None or not sample.label,
        chosen=tuple(chosen),
        quality=tuple(outcome.quality[place] for outcome in examples.loops),
        scores=tuple(outcome.scores[place] for outcome in examples.loops),
    )


def _save_heatmaps(examples: Examples, folder: Path, *, scale: tuple[float, float], size: int) -> None:
    """Draw the last loop's map of each evenly spread image."""
    for number, place in enumerate(examples.even()):
        sample = examples.samples[place]
        kind = sample.defect or ("anomalous" if sample.label else "normal")
        name = "_".join(_plain(part) for part in (sample.class_name, kind, sample.image.stem))
        picture, mask = read_picture_and_mask(sample, size)
        values = enlarged(examples.loops[-1].grids[place], size)
        marked = None if mask is None or not sample.mask else mask > 0
        save_heatmap(folder / f"{number:02d}_{name}.png", picture, marked, values, scale=scale)


def _shown(sample: Sample, number: int, pixels: Pixels, *, real_name: str, device: torch.device) -> Shown:
    batch = next(test_batches((sample,), pixels, 1)).to(device)
    mask = batch.masks[0, 0].cpu().numpy() > 0
    return Shown(example=number, image=batch.images, class_name=sample.class_name, real_name=real_name, mask=mask)


def _plain(name: str) -> str:
    """A class of a manifest may be called anything; a file may not, and its name has 255 bytes at most."""
    return re.sub(r"[^\w.-]+", "-", name).encode("utf-8", "replace")[:60].decode("utf-8", "ignore")
