"""The published evaluation: min-max over the test set, then both metrics on pixels and images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from aaclip_kit import DataSet, Sample
from aaclip_kit.data.loader import Pixels
from aaclip_kit.evaluation.evaluator import ScoredBatch

from ..evaluation.given import GivenScores
from .goldens import Goldens
from .keys import Group
from .rebuilt import PLACE, Rebuilt

IMAGES, SIDE = 12, 40
PUBLISHED = ("pixel_auroc", "pixel_ap", "image_auroc", "image_ap")
PIXEL_GAIN, IMAGE_GAIN = 1.2, 0.8
"""How much higher the recipe's scores are where there is an anomaly."""


def recipe_scores(goldens: Goldens) -> ScoredBatch:
    recipe, tag = goldens.recipe, goldens.info["tag"]
    masks = recipe.masks(f"{tag}metric/", IMAGES, SIDE)[:, 0]
    labels = masks.any(axis=(1, 2)).astype(int)
    maps = recipe.unit(tag, "pixel_scores", masks.size).reshape(masks.shape) + PIXEL_GAIN * masks
    detection = recipe.unit(tag, "image_scores", IMAGES) + IMAGE_GAIN * labels
    samples = tuple(
        Sample(Path(f"{number}.png"), "given", 1 if label else 0, mask=Path(f"{number}_mask.png") if label else None)
        for number, label in enumerate(labels)
    )
    peaks = maps.max(axis=(1, 2))
    maps, detection, peaks = (part.astype(np.float32) for part in (maps, detection, peaks))
    return ScoredBatch(
        samples=samples, masks=masks > 0, grid=maps, maps=maps,
        detection=detection, peaks=peaks, image_scores=detection,
    )  # fmt: skip


def test_published_evaluation(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    file, backbone, scores = rebuilt.experiment().file, rebuilt.backbone, recipe_scores(goldens)
    pixels = Pixels(SIDE, backbone.image_mean, backbone.image_std)
    evaluator = GivenScores(rebuilt.base, PLACE, pixels, table=file.evaluation, switches=file.switches, given=scores)
    percent: dict[str, Any] = {}
    for name in goldens.names(group):
        domain: Any = name.lower()
        data = DataSet(scores.samples, {"given": "given"}, domain)
        values = evaluator.metrics(data, attending=frozenset(), trained=True)["classes"]["given"]
        percent[name] = [100 * values[metric] for metric in PUBLISHED]
    goldens.compare(group, percent)
