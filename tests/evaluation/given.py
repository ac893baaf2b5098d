"""Scores of a whole class at once, which the program itself never holds, and an evaluator of made-up ones."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from aaclip_kit import DataSet, TowerName
from aaclip_kit.evaluation.evaluator import Evaluator, ScoredBatch


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
    return ScoredBatch(samples, **{key: np.concatenate([getattr(batch, key) for batch in batches]) for key in arrays})


def _each(batch: ScoredBatch, change: Any) -> ScoredBatch:
    return ScoredBatch(*(change(getattr(batch, field.name)) for field in fields(ScoredBatch)))
