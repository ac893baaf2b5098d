"""Anomaly maps at a photograph's own size: one that is stretched, or those of its tiles, blended."""

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch.nn import functional

from .tile_grid import Grid


def stretched(values: Float32[np.ndarray, "S S"], size: tuple[int, int]) -> Float32[np.ndarray, "H W"]:
    """A map at an image's own size (width, height): bilinear, corners not aligned, as pictures are resized."""
    width, height = size
    tensor = torch.from_numpy(np.ascontiguousarray(values))[None, None]
    return functional.interpolate(tensor, (height, width), mode="bilinear")[0, 0].numpy()


class BlendedMap:
    """The map of a photograph, to which its tiles are added one after another, and the largest of their scores.

    With `looked_at` only tiles that hold some of it count for that.
    """

    def __init__(self, grid: Grid, looked_at: Bool[np.ndarray, "H W"] | None = None) -> None:
        self.grid, self.looked_at, self.added = grid, looked_at, 0
        self.values: Float32[np.ndarray, "H W"] = np.zeros(grid.size[::-1], np.float32)
        self.detection = -np.inf
        self._boxes = grid.boxes

    def add(self, values: Float32[np.ndarray, "S S"], detection: float) -> None:
        """Add the next tile: its map at the model's size, and its image score without the map."""
        left, top, right, bottom = next(self._boxes)
        place = np.s_[top:bottom, left:right]
        self.values[place] += self.grid.share(self.added) * stretched(values, self.grid.tile)
        if self.looked_at is None or self.looked_at[place].any():
            self.detection = max(self.detection, detection)
        self.added += 1

    @property
    def is_whole(self) -> bool:
        """Whether all tiles are there."""
        return self.added == self.grid.count

    @property
    def peak(self) -> float:
        """Return the largest value, of what is looked at."""
        if self.looked_at is None:
            return float(self.values.max())
        return float(self.values.max(where=self.looked_at, initial=-np.inf))
