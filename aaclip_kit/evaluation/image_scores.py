"""Which score of an image tells best: the detection feature's, the map's largest value, or the mean of both."""

from __future__ import annotations

from collections import defaultdict

import torch

from ..contracts.head import Head
from ..distributed.collectives import all_gather_object
from ..distributed.ranks import Ranks
from .auroc import auroc
from .evaluator import ScoredBatch, image_score
from .histogram import Histogram

_CHOICES = ("detection", "map", "mean")


class ImageScoreComparison:
    """Counts, class by class, what each choice of `evaluation.image_score` would have given, on validation images."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._scores: dict[str, dict[str, Histogram]] = defaultdict(lambda: defaultdict(Histogram))

    def on_batch(self, name: str, batch: ScoredBatch) -> None:
        """Count a batch of a class."""
        detection, peaks = torch.from_numpy(batch.detection), torch.from_numpy(batch.peaks)
        for choice in _CHOICES:
            scores = image_score(choice, detection, peaks, self._head).numpy()
            self._scores[name][choice].add(scores, batch.labels != 0)

    def result(self, ranks: Ranks) -> dict[str, float | None]:
        """Mean image AUROC over the classes by choice, on every rank; None where no class has both labels."""
        whole: dict[str, dict[str, Histogram]] = defaultdict(lambda: defaultdict(Histogram))
        for part in all_gather_object(ranks, {name: dict(of) for name, of in self._scores.items()}):
            for name, choices in part.items():
                for choice, scores in choices.items():
                    whole[name][choice].merge(scores)
        found: dict[str, float | None] = {}
        for choice in _CHOICES:
            values = [value for of in whole.values() if (value := auroc(of[choice])) is not None]
            found[choice] = sum(values) / len(values) if values else None
        return found
