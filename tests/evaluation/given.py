"""Scores of a whole class at once, which the program itself never holds, made-up ones, and real images."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from aaclip_kit import DataSet, TowerName
from aaclip_kit.evaluation.evaluator import Evaluator, ScoredBatch
from aaclip_kit.evaluation.rules import LabelledImage


@dataclass(frozen=True, kw_only=True)
class GivenScores(Evaluator):
    """An evaluator that finds these scores in every class, `size` images at a time."""

    given: ScoredBatch
    size: int = 5

    def scored_batches(
        self, data: DataSet, name: str, attending: Set[TowerName], trained: bool
    ) -> Iterator[ScoredBatch]:
        for start in range(0, len(self.given.samples), self.size):
            yield _each(self.given, lambda part, start=start: part[start : start + self.size])


def whole_class(
    evaluator: Evaluator, data: DataSet, name: str, attending: Set[TowerName], trained: bool = True
) -> ScoredBatch:
    """Every image of a class as one batch."""
    batches = list(evaluator.scored_batches(data, name, attending, trained))
    samples = tuple(sample for batch in batches for sample in batch.samples)
    arrays = [field.name for field in fields(ScoredBatch) if field.name != "samples"]
    return ScoredBatch(
        samples=samples, **{key: np.concatenate([getattr(batch, key) for batch in batches]) for key in arrays}
    )


def _each(batch: ScoredBatch, change: Any) -> ScoredBatch:
    return ScoredBatch(**{field.name: change(getattr(batch, field.name)) for field in fields(ScoredBatch)})


def real_images(folder: Path, every: int = 1) -> Iterator[LabelledImage]:
    """Images of a class in the MVTec layout with their labels and masks; every so many, for time."""
    for file in sorted((folder / "test").glob("*/*.png"))[::every]:
        defect, mask = file.parent.name, None
        if defect != "good":
            with Image.open(folder / "ground_truth" / defect / f"{file.stem}_mask.png") as picture:
                mask = np.array(picture.convert("L")) > 0
        with Image.open(file) as picture:
            yield LabelledImage(np.array(picture.convert("RGB")), int(defect != "good"), mask)
