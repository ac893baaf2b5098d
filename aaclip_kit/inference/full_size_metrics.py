"""Metrics of whole photographs: maps and masks at each image's own size, also of images that are cut into tiles."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints.stored_thresholds import Thresholds
from ..contracts.data import DataSet
from ..contracts.errors import UserError
from ..data.decoded import read_marks
from ..distributed.collectives import all_gather_object
from ..evaluation.calibration import Tiles
from ..evaluation.class_metrics import ClassMetrics, results
from ..evaluation.evaluator import known_masks
from .load_model import TrainedModel


def full_size_metrics(
    model: TrainedModel, data: DataSet, sizes: Mapping[Path, tuple[int, int]], tiles: Tiles | None = None
) -> dict[str, Any]:
    """Score a labelled data set as `aakit predict` does, and measure it at each image's own size.

    `sizes` are those of the images, (width, height). One image's map is in memory at a time; of several ranks, each
    scores its share. The record is that of `TrainedModel.metrics`. Raises `UserError` as `TrainedModel.predict` does,
    and for scores that go by the whole test set.
    """
    switches, ranks = model.evaluator.switches, model.evaluator.ranks
    if switches.score_normalisation == "test_set":
        problem = "normalises maps of one size, that of the model, by the whole test set"
        fix = "leave out --full-size and --tiles, or --set switches.score_normalisation=none"
        raise UserError(problem, where="switches.score_normalisation", fix=fix)
    counts = {name: ClassMetrics(undefined_as_zero=switches.one_label_auroc == "zero") for name in data.classes}
    own = tuple(sample for name in data.classes for sample in model.evaluator.own_samples(data, name))
    part, own_sizes = replace(data, samples=own), [sizes[sample.image] for sample in own]
    found = model.predictions(part, own_sizes, Thresholds(), model.decoded(tiles))
    for sample, prediction in zip(own, found, strict=True):
        masks = known_masks([sample], [read_marks(sample, sizes[sample.image])])
        score, label = np.array([prediction.pred_score]), np.array([sample.label])
        counts[sample.class_name].update([prediction.anomaly_map], masks, score, label)
    first, *others = all_gather_object(ranks, counts)
    for other in others:
        for name, metrics in first.items():
            metrics.merge(other[name])
    return results({name: metrics.result() for name, metrics in first.items()})
