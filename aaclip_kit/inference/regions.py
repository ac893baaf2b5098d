"""Regions of a mask: connected pixels, each with its box, its area and its largest value."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32
from scipy import ndimage

_NEIGHBOURS = np.ones((3, 3), bool)
"""Pixels that touch at a corner are connected, too."""


@dataclass(frozen=True)
class Region:
    """Connected pixels of a mask, in pixels of the image: `box` is left, top, width and height."""

    box: tuple[int, int, int, int]
    area: int
    largest: float


def without_small(mask: Bool[np.ndarray, "H W"], least_area: int) -> Bool[np.ndarray, "H W"]:
    """Return the mask without its regions of fewer pixels."""
    if least_area <= 1 or not mask.any():
        return mask
    labels, _ = ndimage.label(mask, _NEIGHBOURS)
    kept: np.ndarray = np.bincount(labels.ravel()) >= least_area
    kept[0] = False
    return kept[labels]


def regions_of(mask: Bool[np.ndarray, "H W"], anomaly_map: Float32[np.ndarray, "H W"]) -> list[Region]:
    """Return a mask's regions, that of the largest map value first."""
    labels, count = ndimage.label(mask, _NEIGHBOURS)
    areas, largest = np.bincount(labels.ravel())[1:], ndimage.maximum(anomaly_map, labels, np.arange(1, count + 1))
    boxes = map(_sides, ndimage.find_objects(labels))
    found = [Region(box, int(area), float(value)) for box, area, value in zip(boxes, areas, largest, strict=True)]
    return sorted(found, key=lambda region: -region.largest)


def _sides(box: tuple[slice, slice]) -> tuple[int, int, int, int]:
    rows, columns = box
    return columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start
