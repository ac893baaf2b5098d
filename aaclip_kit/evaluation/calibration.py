"""Thresholds of a trained model, chosen on images of the source that were kept out of training."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Annotated, Final, Literal, TypeVar

import numpy as np
from jaxtyping import Float
from pydantic import AfterValidator, ConfigDict, Field

from ..contracts.data import DataSet
from ..contracts.options import TowerName
from ..distributed.collectives import all_gather_object
from ..distributed.ranks import Ranks
from ..experiment.schema import CalibrationTable
from .evaluator import Evaluator, ScoredBatch
from .f1_max import f1_max_threshold, rates_at, threshold_at_fpr
from .histogram import Histogram, counted_pixels

Rate = Annotated[float, Field(ge=0, le=1)]
Rates = dict[Literal["fpr", "f1"], Rate | None]
What = Literal["image", "map"]
Threshold = Annotated[float, Field(ge=-1e30, le=1e30)]
"""Within the numbers that scores in float32 can be."""

Tiles = Literal["auto"] | int
"""How images are cut into tiles: how many along the shorter side, or as many as fit the model's size."""

MOST_ALONG: Final = 100
"""Tiles along the shorter side that can be asked for."""

StoredTiles = Literal["auto"] | Annotated[int, Field(ge=1, le=MOST_ALONG)]
"""The same, as a file says it."""

MOST_SCORES: Final = 1000
"""Scores of normal images that are kept with the thresholds."""

ABSURD_FPR: Final = 0.3
"""The share of normal images, or pixels, from which on a threshold that calls them anomalous is warned of."""


_Numbers = TypeVar("_Numbers", bound=Sequence[float])


def _ascending(numbers: _Numbers) -> _Numbers:
    if list(numbers) != sorted(numbers):
        raise ValueError("is not in ascending order")
    return numbers


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A score at or above its threshold counts as anomalous; a threshold that could not be chosen is None.

    `counts` are of the images; `achieved` has "fpr" and "f1" of each threshold on the source, images ("image") and
    pixels ("map"); `reasons` says why a threshold is None; `classes` are those of the source, None where that is not
    known.
    """

    __pydantic_config__ = ConfigDict(strict=True, allow_inf_nan=False)

    rule: Literal["f1max", "fpr", "false_alarms"]
    fpr: Rate | None
    source: str
    counts: dict[Literal["normal", "anomalous"], Annotated[int, Field(ge=0)]]
    image_threshold: Threshold | None
    map_threshold: Threshold | None
    achieved: dict[What, Rates]
    reasons: dict[str, str] = field(default_factory=dict)
    classes: list[str] | None = None
    expected: Annotated[tuple[Rate, Rate], AfterValidator(_ascending)] | None = None
    """With rule false_alarms: limits of the share of further normal images that will be called anomalous."""
    normal_scores: Annotated[list[Threshold], AfterValidator(_ascending)] | None = None
    """Image scores of the normal images, ascending, of many `MOST_SCORES` evenly spread; None where not known."""
    tiles: StoredTiles | None = None
    """How the images were cut; None where they were scored as a whole."""


def one_by_one(evaluator: Evaluator) -> Evaluator:
    """The evaluator, with batches of one image where a published switch would mix the images of a batch."""
    if mixes_images(evaluator):
        return replace(evaluator, table=evaluator.table.model_copy(update={"batch_size": 1}))
    return evaluator


def mixes_images(evaluator: Evaluator) -> bool:
    """Whether a published switch would mix the images of a batch."""
    mean = evaluator.table.text_conditioning == "image" and evaluator.switches.image_context == "batch_mean"
    attends = any(stage.context_kind == "image" for _, _, stage in evaluator.model.slots.of("vision"))
    return mean or (attends and evaluator.switches.surgery_attention == "batch")


class Calibrator:
    """Collects the scores of the calibration images, batch after batch."""

    def __init__(self, table: CalibrationTable) -> None:
        self.table = table
        self.images, self.pixels = Histogram(), Histogram()

    def on_batch(self, name: str, batch: ScoredBatch) -> None:
        """Count a batch; the pixels of an anomalous image without a mask are left out."""
        self.images.add(batch.image_scores, batch.labels != 0)
        for anomaly_map, mask in zip(batch.maps, batch.known_masks, strict=True):
            if mask is not None:
                self.pixels.add(*counted_pixels(anomaly_map, mask))

    def merge(self, ranks: Ranks) -> None:
        """Add what the other ranks have counted."""
        parts = all_gather_object(ranks, (self.images, self.pixels))
        for images, pixels in (part for rank, part in enumerate(parts) if rank != ranks.rank):
            self.images.merge(images)
            self.pixels.merge(pixels)

    def collect(self, evaluator: Evaluator, data: DataSet, attending: Set[TowerName], trained: bool = True) -> None:
        """Score and count every image, of several ranks this one's share."""
        for name in data.classes:
            for batch in evaluator.scored_batches(data, name, attending, trained):
                self.on_batch(name, batch)

    def result(self, source: str, classes: Sequence[str] | None = None) -> Calibration:
        """The thresholds by the rule, with the words and the classes of the images that were counted."""
        table = self.table
        counted: dict[What, Histogram] = {"image": self.images, "map": self.pixels}
        chosen = {
            what: f1_max_threshold(scores) if table.rule == "f1max" else threshold_at_fpr(scores, table.fpr)
            for what, scores in counted.items()
        }
        lacking = [what for what, threshold in chosen.items() if threshold is None]
        return Calibration(
            rule=table.rule,
            fpr=table.fpr if table.rule == "fpr" else None,
            source=source,
            counts={"normal": self.images.negatives, "anomalous": self.images.positives},
            image_threshold=chosen["image"],
            map_threshold=chosen["map"],
            achieved={what: _rates(scores, chosen[what]) for what, scores in counted.items()},
            reasons={f"{what}_threshold": _reason(counted[what], self.images) for what in lacking},
            classes=None if classes is None else list(classes),
            normal_scores=kept_scores(np.repeat(self.images.edges(), self.images.sums()[0].astype(int))),
        )


UNREMEMBERED: Final = "its images are of classes without references, and are scored by the head alone"


def withheld(calibration: Calibration, reason: str) -> Calibration:
    """The same without thresholds, which serve for other scores than those of the images they would be used on."""
    none: Rates = {"fpr": None, "f1": None}
    return replace(
        calibration,
        image_threshold=None,
        map_threshold=None,
        achieved={"image": none, "map": none},
        reasons={"image_threshold": reason, "map_threshold": reason},
        normal_scores=None,
    )


def absurd_rates(achieved: Mapping[What, Rates], source: str) -> list[str]:
    """A line for each threshold that calls `ABSURD_FPR` of its source's normal images anomalous, or finds nothing."""
    of: dict[What, str] = {"image": "images", "map": "pixels"}
    lines = []
    for what, things in of.items():
        rates = achieved.get(what) or {}
        if (rate := rates.get("fpr")) is not None and rate >= ABSURD_FPR:
            told = f"calls {rate:.1%} of the normal {things} anomalous that it was chosen on"
            lines.append(f"the {what} threshold {told} ({source})")
        if rates.get("f1") == 0:
            lines.append(f"the {what} threshold finds none of the anomalous {things} that it was tried on ({source})")
    return lines


def kept_scores(scores: Sequence[float] | Float[np.ndarray, " N"]) -> list[float] | None:
    """Return scores of normal images in ascending order, of many an even choice; None without any."""
    ascending = np.sort(np.asarray(scores, np.float64))
    places = np.linspace(0, len(ascending) - 1, min(len(ascending), MOST_SCORES)).round().astype(int)
    return [float(f"{score:.7g}") for score in ascending[places].tolist()] or None


def _rates(scores: Histogram, threshold: float | None) -> Rates:
    """False-positive rate and F1 of a threshold; None where they are not defined."""
    fpr, f1 = (None, None) if threshold is None else rates_at(scores, threshold)
    return {"fpr": fpr, "f1": f1}


def _reason(scores: Histogram, images: Histogram) -> str:
    if not (images.negatives or images.positives):
        return "no image to calibrate on"
    if not images.negatives:
        return "no normal image to calibrate on"
    if scores is images or not images.positives:
        return "no anomalous image to calibrate on, which rule f1max needs"
    return "no mask with an anomalous pixel to calibrate on, which rule f1max needs; rule fpr does without"
