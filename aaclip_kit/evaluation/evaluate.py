"""Scoring a whole data set with one detector, class by class."""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contracts.data import DataSet, Sample
from ..contracts.options import TowerName
from ..data.batches import Batch, Pixels, test_batches
from ..engine.detector import Detector
from ..engine.device import Place
from ..experiment.schema import EvaluationTable, Switches
from .metrics import Values, class_metrics, mean_metrics
from .score import Scores, map_probability, score


@dataclass(frozen=True)
class ClassScores:
    """Raw scores of one class: maps and masks `[n, S, S]`, detection scores and map peaks `[n]`."""

    samples: tuple[Sample, ...]
    maps: np.ndarray
    masks: np.ndarray
    detection: np.ndarray
    peaks: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """1 for an anomalous image."""
        return np.array([sample.label for sample in self.samples])

    @property
    def has_masks(self) -> bool:
        """Whether every anomalous image has a mask."""
        return all(sample.mask is not None for sample in self.samples if sample.label)


@dataclass(frozen=True)
class Evaluator:
    """Scores images with a detector, frozen or trained.

    `attending` names the towers whose stages with a context act: those that trained with them on.
    """

    detector: Detector
    place: Place
    pixels: Pixels
    table: EvaluationTable
    switches: Switches
    workers: int = 0

    def metrics(
        self,
        data: DataSet,
        attending: Set[TowerName],
        trained: bool,
        keep: Callable[[str, ClassScores], None] | None = None,
    ) -> dict[str, Any]:
        """`{"classes": {class: values}, "mean": values}`; `keep` sees each class's scores on the way."""
        classes: dict[str, Values] = {}
        for name in data.classes:
            found = self.class_scores(data, name, attending, trained)
            if keep:
                keep(name, found)
            zero = self.switches.one_label_auroc == "zero"
            classes[name] = class_metrics(
                found.maps, found.masks, self.image_scores(found, data), found.labels, found.has_masks,
                undefined_as_zero=zero,
            )  # fmt: skip
        return {"classes": classes, "mean": mean_metrics(classes)}

    @torch.no_grad()
    def class_scores(self, data: DataSet, name: str, attending: Set[TowerName], trained: bool) -> ClassScores:
        """Score every image of one class."""
        samples = tuple(sample for sample in data.samples if sample.class_name == name)
        found = list(self._scored(samples, data, attending, trained))
        maps = torch.cat([scores.maps for _, scores in found]).cpu().numpy()
        masks = torch.cat([batch.masks for batch, _ in found])[:, 0].cpu().numpy() > 0
        detection = torch.cat([scores.detection for _, scores in found]).cpu().numpy()
        peaks = torch.cat([scores.map_peak for _, scores in found]).cpu().numpy()
        return ClassScores(samples, maps, masks, detection, peaks)

    def image_scores(self, found: ClassScores, data: DataSet) -> np.ndarray:
        """One score an image, by the experiment's choice or, as published, from min-max over the class's test set."""
        if self.switches.score_normalisation == "test_set":
            peaks = _min_max(found.maps).reshape(len(found.maps), -1).max(axis=1)
            return peaks if data.domain == "medical" else 0.5 * peaks + 0.5 * _min_max(found.detection)
        likely = map_probability(torch.from_numpy(found.peaks), len(self.detector.levels)).numpy()
        choices = {"detection": found.detection, "map": found.peaks, "mean": (found.detection + likely) / 2}
        return choices[self.table.image_score]

    def _scored(
        self, samples: tuple[Sample, ...], data: DataSet, attending: Set[TowerName], trained: bool
    ) -> Iterator[tuple[Batch, Scores]]:
        for batch in test_batches(samples, self.pixels, self.table.batch_size, self.workers):
            batch = batch.to(self.place.device)
            with self.place.autocast():
                levels, detection, text = self._features(batch, attending, trained)
            size = batch.images.shape[-1]
            yield batch, score(levels, detection, text, size, data.domain, self.table.blur)

    def _features(
        self, batch: Batch, attending: Set[TowerName], trained: bool
    ) -> tuple[dict[int, Tensor], Tensor, Tensor]:
        detector = self.detector
        if not trained:
            text = detector.text.frozen_features(batch.classes[:1]).expand(len(batch.classes), -1, -1)
            frozen = detector.image.frozen(batch.images, detector.levels)
            return frozen.levels, frozen.detection, text
        attention = "vision" in attending and self.switches.evaluation_attention
        found = detector.image_features(batch.images, batch.classes, attention)
        context = None
        if self.table.text_conditioning == "image":
            context = detector.seen_by_text(batch.images, batch.classes, True, attending)[1]
        return found.levels, found.detection, detector.text_features(batch.classes, context)


def _min_max(values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / ((high - low) or 1.0)
