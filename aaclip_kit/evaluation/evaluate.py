"""Scoring a whole data set with one detector, class by class and batch by batch."""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int
from torch import Tensor

from ..contracts.data import DataSet, Domain, Sample
from ..contracts.options import TowerName
from ..data.batches import Batch, Pixels, test_batches
from ..engine.boundary import PluginFault, naming_batch
from ..engine.detector import Detector
from ..engine.device import Place
from ..experiment.schema import EvaluationTable, Switches
from .metrics import ClassResult, results
from .min_max import MinMaxScores
from .score import Scores, map_probability, score
from .streaming import ClassMetrics


@dataclass(frozen=True)
class ScoredBatch:
    """Raw scores of some images of one class, beside their samples and masks.

    `grid` is the anomaly map on the patch grid and `maps` is it at the image size; `image_scores` go by
    `evaluation.image_score`, also where the class's metrics are of scores normalised as published.
    """

    samples: tuple[Sample, ...]
    masks: Bool[np.ndarray, "B S S"]
    grid: Float32[np.ndarray, "B G G"]
    maps: Float32[np.ndarray, "B S S"]
    detection: Float32[np.ndarray, " B"]
    peaks: Float32[np.ndarray, " B"]
    image_scores: Float32[np.ndarray, " B"]

    @property
    def labels(self) -> Int[np.ndarray, " B"]:
        """1 for an anomalous image."""
        return np.array([sample.label for sample in self.samples])

    @property
    def known_masks(self) -> list[Bool[np.ndarray, "S S"] | None]:
        """The mask of each image; None for an anomalous image that has none."""
        pairs = zip(self.samples, self.masks, strict=True)
        return [None if sample.label and sample.mask is None else mask for sample, mask in pairs]


Keep = Callable[[str, ScoredBatch], None]
"""Called with a class's name and one batch of its images after another."""


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
        self, data: DataSet, attending: Set[TowerName], trained: bool, keep: Keep | None = None
    ) -> dict[str, Any]:
        """The record that `results` makes of all classes; `keep` sees every scored batch on the way."""
        return results(self.evaluate(data, attending, trained, keep))

    def evaluate(
        self, data: DataSet, attending: Set[TowerName], trained: bool, keep: Keep | None = None
    ) -> dict[str, ClassResult]:
        """Metrics and curves of each class; `keep` sees every scored batch on the way."""
        return {name: self.class_metrics(data, name, attending, trained, keep).result() for name in data.classes}

    def class_metrics(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool, keep: Keep | None = None
    ) -> ClassMetrics:
        """Counts of one class, which can be saved and added to those of other images of it."""
        found = ClassMetrics(undefined_as_zero=self.switches.one_label_auroc == "zero")
        published = MinMaxScores(data.domain) if self.switches.score_normalisation == "test_set" else None
        labels = []
        for batch in self.scored_batches(data, name, attending, trained):
            if keep:
                keep(name, batch)
            found.update_pixels(batch.maps, batch.known_masks, batch.labels)
            if published is None:
                found.update_images(batch.image_scores, batch.labels)
            else:
                published.add(batch.maps, batch.detection)
                labels.append(batch.labels)
        if published is not None:
            found.update_images(published.image_scores(), np.concatenate(labels))
        return found

    def scored_batches(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool
    ) -> Iterator[ScoredBatch]:
        """Score the images of one class in order, a batch at a time."""
        samples = tuple(sample for sample in data.samples if sample.class_name == name)
        text = self._class_text(name, trained)
        for batch in test_batches(samples, self.pixels, self.table.batch_size, self.workers):
            yield self._scored(batch, text, data.domain, attending, trained)

    def image_scores(self, scores: Scores) -> Tensor:
        """One score an image, `[B]`, by the experiment's choice."""
        if self.table.image_score == "detection":
            return scores.detection
        if self.table.image_score == "map":
            return scores.map_peak
        return (scores.detection + map_probability(scores.map_peak, len(self.detector.levels))) / 2

    @torch.no_grad()
    def _scored(
        self, batch: Batch, text: Tensor | None, domain: Domain, attending: Set[TowerName], trained: bool
    ) -> ScoredBatch:
        batch = batch.to(self.place.device)
        with naming_batch("scoring", batch.samples):
            with self.place.autocast():
                levels, detection, features = self._features(batch, text, attending, trained)
            scores = score(levels, detection, features, batch.images.shape[-1], domain, self.table.blur)
            on_device = (scores.grid, scores.maps, scores.detection, scores.map_peak, self.image_scores(scores))
            found = [part.cpu().numpy() for part in on_device]
            if not all(np.isfinite(part).all() for part in found):
                raise self._not_finite(batch, attending, trained)
        masks = batch.masks[:, 0].cpu().numpy() > 0
        return ScoredBatch(batch.samples, masks, *found)

    def _not_finite(self, batch: Batch, attending: Set[TowerName], trained: bool) -> PluginFault:
        """The fault behind scores that are not finite: of the stage that makes them so, where it is one's."""
        try:
            with self.detector.sites.looking_at_numbers(), self.place.autocast():
                self._features(batch, self._class_text(batch.classes[0], trained), attending, trained)
        except PluginFault as fault:
            return fault
        fix = "look at the checkpoint's weights, or use precision = 'fp32'"
        return PluginFault("the scores are not finite", where="evaluation", fix=fix)

    @torch.no_grad()
    def _class_text(self, name: str, trained: bool) -> Tensor | None:
        """The class's text feature `[1, E, 2]`; None where it is conditioned on each image."""
        with self.place.autocast():
            if not trained:
                return self.detector.text.frozen_features((name,))
            return self.detector.text_features((name,), None) if self.table.text_conditioning == "none" else None

    def _features(
        self, batch: Batch, text: Tensor | None, attending: Set[TowerName], trained: bool
    ) -> tuple[dict[int, Tensor], Tensor, Tensor]:
        detector = self.detector
        if not trained:
            found = detector.image.frozen(batch.images, detector.levels)
        else:
            attention = "vision" in attending and self.switches.evaluation_attention
            found = detector.image_features(batch.images, batch.classes, attention)
        if text is None:
            context = detector.seen_by_text(batch.images, batch.classes, True, attending)[1]
            return found.levels, found.detection, detector.text_features(batch.classes, context)
        return found.levels, found.detection, text.expand(len(batch.classes), -1, -1)
