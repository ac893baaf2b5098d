"""AUPRO: the area under the per-region overlap, up to a false positive rate of 0.3 (method: section 9)."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float64, Shaped
from scipy.ndimage import label as connected_regions

from .auroc import Curve, roc
from .histogram import Histogram

FPR_LIMIT: Final = 0.3
"""AUPRO's largest false positive rate."""

_EIGHT_NEIGHBOURS: Final = np.ones((3, 3), int)


def region_weights(mask: Shaped[np.ndarray, "_ _"]) -> Float64[np.ndarray, " P"]:
    """For each anomalous pixel, row after row, one over the area of its 8-connected region: each region weighs 1."""
    mask = mask > 0
    if not mask.any():
        return np.zeros(0)
    regions = connected_regions(mask, structure=_EIGHT_NEIGHBOURS)[0][mask]
    return 1.0 / np.bincount(regions)[regions]


def pro_curve(pixels: Histogram) -> Curve | None:
    """Return the mean overlap of the regions over the false positive rate, up to `FPR_LIMIT`.

    The pixels were counted with `region_weights`. None where one of the labels does not occur.
    """
    curve = roc(pixels, weighted=True)
    return None if curve is None else curve.up_to(FPR_LIMIT)


def aupro(pixels: Histogram) -> float | None:
    """Return the area under the PRO curve as a fraction of `FPR_LIMIT`; None where there is no curve."""
    curve = pro_curve(pixels)
    return None if curve is None else curve.area() / FPR_LIMIT
