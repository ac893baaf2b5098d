"""One image's result: its score, the decision and how certain it is, its anomaly map and mask."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32

from ..contracts.deprecation import renamed_attribute
from .regions import Region, regions_of, without_small

UNNAMED = "object"
"""What the prompts call a thing whose name is not given."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One image's result.

    `pred_score` is at or above `threshold` for an anomalous image; `anomaly_map` has the size of the image, upright;
    `max_value` is the map's largest value at the model's own size; `class_name` is what the image was taken for. What
    needs a threshold is None without one. `good_scores` are those of good images, ascending, where the model knows
    them. A region of fewer than `least_area` pixels is not in the mask, nor what lies outside of `looked_at`.
    """

    path: Path
    pred_score: float
    threshold: float | None
    max_value: float
    anomaly_map: Float32[np.ndarray, "H W"]
    map_threshold: float | None
    class_name: str = UNNAMED
    good_scores: Sequence[float] | None = field(default=None, repr=False)
    least_area: int = 1
    looked_at: Bool[np.ndarray, "H W"] | None = field(default=None, repr=False)

    score = renamed_attribute("Prediction.score", "pred_score")
    map = renamed_attribute("Prediction.map", "anomaly_map")
    largest = renamed_attribute("Prediction.largest", "max_value")

    @property
    def decision(self) -> Literal["anomalous", "normal"] | None:
        """The decision by the image's threshold."""
        if self.threshold is None:
            return None
        return "anomalous" if self.pred_score >= self.threshold else "normal"

    @property
    def good_above(self) -> float | None:
        """Return the share of good images that score as high, or higher; None where the model knows none.

        It says how certain a decision is: near 0 hardly any good image looks so bad, at a half it looks like most.
        """
        if not self.good_scores:
            return None
        return 1 - int(np.searchsorted(self.good_scores, self.pred_score)) / len(self.good_scores)

    @cached_property
    def mask(self) -> Bool[np.ndarray, "H W"] | None:
        """Where the map is at or above its threshold.

        Enlarged to the image's size, a map has lower peaks: where its largest value alone reaches the threshold, the
        mask is the pixel of its highest peak.
        """
        if self.map_threshold is None:
            return None
        # NumPy would round the threshold to the map's float32, onto one of the two values that it lies between.
        least = np.float32(self.map_threshold)
        mask = self.anomaly_map >= (least if float(least) >= self.map_threshold else np.nextafter(least, np.inf))
        seen = mask if self.looked_at is None else mask & self.looked_at
        if self.max_value >= self.map_threshold and not seen.any():
            values = self.anomaly_map if self.looked_at is None else np.where(self.looked_at, self.anomaly_map, -np.inf)
            seen.flat[values.argmax()] = True
        return without_small(seen, self.least_area)

    @property
    def regions(self) -> list[Region] | None:
        """The regions of the mask, that of the largest map value first; None without a threshold of the map."""
        return None if self.mask is None else regions_of(self.mask, self.anomaly_map)
