"""Counting scores by label in few bins: float32 as unsigned integers that sort alike, whose bits name the bin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Shaped, UInt32, UInt64

_SIGN: Final = np.uint32(1 << 31)
_INFINITIES: Final = 0x007FFFFF, 0xFF800000
"""The keys of minus and plus infinity; what lies beyond them would be a NaN."""


def ordered_keys(values: Float[np.ndarray, " N"]) -> UInt32[np.ndarray, " N"]:
    """A key for each value, rounded to float32: a < b exactly where the key of a is below that of b.

    Both zeros have one key. Subnormal numbers and infinities keep their places. Raises ValueError for NaN.
    """
    # Adding zero makes -0.0 a +0.0, and copies, so that the bits can be turned in place.
    positive_zero = np.asarray(values, np.float32) + np.float32(0)
    if np.isnan(positive_zero).any():
        raise ValueError("scores contain NaN")
    keys = positive_zero.view(np.uint32)
    keys ^= np.where(keys & _SIGN, np.uint32(0xFFFFFFFF), _SIGN)
    return keys


def lowest_values(keys: UInt32[np.ndarray, " N"], shift: int) -> Float32[np.ndarray, " N"]:
    """The smallest float32 whose key, less its `shift` lowest bits, is the given one."""
    return _values(keys.astype(np.uint64) << np.uint64(shift))


def highest_values(keys: UInt32[np.ndarray, " N"], shift: int) -> Float32[np.ndarray, " N"]:
    """The largest float32 whose key, less its `shift` lowest bits, is the given one."""
    return _values((keys.astype(np.uint64) + np.uint64(1) << np.uint64(shift)) - np.uint64(1))


def _values(keys: UInt64[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
    whole = np.clip(keys, *_INFINITIES).astype(np.uint32)
    return (whole ^ np.where(whole & _SIGN, _SIGN, np.uint32(0xFFFFFFFF))).view(np.float32)


def counted_pixels(
    values: Float[np.ndarray, "_ _"], mask: Shaped[np.ndarray, "_ _"]
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """The values and labels of a map, row after row, less those that its mask leaves out.

    A mask of any numbers is positive above 0, negative at 0, and below 0 neither. Raises ValueError for another size.
    """
    if values.shape != mask.shape:
        raise ValueError(f"mask {mask.shape} has not the size of its map {values.shape}")
    counted = mask >= 0
    return values[counted], mask[counted] > 0


CAPACITY: Final = 2**19
"""Bins at most. Each takes 28 bytes: a key, two counts and a sum of weights."""

ROUNDING: Final = 1e-5
"""More than a score differs by, in its own size or in 1, when it is made again in another batch."""

_MOST_RUNS: Final = 1000


class _Bins(NamedTuple):
    """Keys of bins, and three rows for them: negatives, positives, weights of the positives."""

    keys: UInt32[np.ndarray, " N"]
    sums: Float64[np.ndarray, "3 N"]


class Histogram:
    """Counts of negative and positive scores, from which `auroc`, `aupro` and `f1_max` compute their metrics."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity, self.shift = capacity, 0
        self._runs: list[_Bins] = []
        self._top: Float64[np.ndarray, "3 N"] | None = None

    def add(
        self,
        scores: Float[np.ndarray, " N"],
        positive: Shaped[np.ndarray, " N"],
        weights: Float64[np.ndarray, " P"] | None = None,
    ) -> None:
        """Count scores, rounded to float32; `positive` is above 0, or True, for positives.

        `weights` are of the positives in their order, 1 each by default. Raises ValueError for NaN.
        """
        positive = np.asarray(positive) > 0
        keys = ordered_keys(scores) >> np.uint32(self.shift)
        ones = np.ones(int(np.count_nonzero(positive)))
        hits = np.stack([np.zeros_like(ones), ones, ones if weights is None else weights])
        self._take(_counted(keys[~positive]), _summed(_Bins(keys[positive], hits)))

    def merge(self, other: Histogram) -> None:
        """Add another's counts, which stays as it is."""
        bins = other._bins()
        if other.shift > self.shift:
            self._coarsen(other.shift - self.shift)
        self._take(_Bins(bins.keys >> np.uint32(self.shift - other.shift), bins.sums))

    def state(self) -> dict[str, np.ndarray]:
        """All of it as arrays, for `numpy.savez` or another process."""
        keys, sums = self._bins()
        return {"capacity": np.array(self.capacity), "shift": np.array(self.shift), "keys": keys, "sums": sums}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray]) -> Histogram:
        """The histogram that `state` came from."""
        histogram = cls(int(state["capacity"]))
        histogram.shift = int(state["shift"])
        histogram._runs = [_Bins(state["keys"], state["sums"])]
        return histogram

    @property
    def negatives(self) -> int:
        """How many negative scores were added."""
        return int(sum(run.sums[0].sum() for run in self._runs))

    @property
    def positives(self) -> int:
        """How many positive scores were added."""
        return int(sum(run.sums[1].sum() for run in self._runs))

    @property
    def has_both_labels(self) -> bool:
        """Whether a negative and a positive score were added."""
        return bool(self.negatives and self.positives)

    def sums(self) -> Float64[np.ndarray, "3 N"]:
        """Negatives, positives and weights of the positives in each bin, the lowest bin first."""
        return self._bins().sums

    def edges(self) -> Float[np.ndarray, " N"]:
        """The lower edge of each bin."""
        return lowest_values(self._bins().keys, self.shift)

    def threshold(self, place: int) -> float:
        """The middle between bin `place` and those before it; a little beyond the one side where the other has none."""
        keys = self._bins().keys
        below, above = highest_values(keys[:place][-1:], self.shift), lowest_values(keys[place:][:1], self.shift)
        ends = [float(end) for end in (*below, *above)]
        if len(ends) == 2:
            return ends[0] / 2 + ends[1] / 2
        return ends[0] + (ROUNDING if len(below) else -ROUNDING) * max(1.0, abs(ends[0]))

    def from_the_top(self) -> Float64[np.ndarray, "3 N"]:
        """What lies at or above each bin, the highest bin first; every metric asks for it."""
        if self._top is None:
            self._top = np.cumsum(self._bins().sums[:, ::-1], axis=1)
        return self._top

    def _take(self, *runs: _Bins) -> None:
        # Runs wait until they are worth a merge: one merge an image would move every bin for each image.
        self._runs.extend(runs)
        self._top = None
        if len(self._runs) > _MOST_RUNS or sum(len(waiting.keys) for waiting in self._runs[1:]) > self.capacity:
            self._bins()

    def _bins(self) -> _Bins:
        """All runs made one, with as many bits as fit."""
        if len(self._runs) != 1:
            keys = [np.zeros(0, np.uint32), *(run.keys for run in self._runs)]
            sums = [np.zeros((3, 0)), *(run.sums for run in self._runs)]
            self._runs = [_summed(_Bins(np.concatenate(keys), np.concatenate(sums, axis=1)))]
        while len(self._runs[0].keys) > self.capacity:
            self._coarsen(1)
        return self._runs[0]

    def _coarsen(self, bits: int) -> None:
        self._runs = [_summed(_Bins(run.keys >> np.uint32(bits), run.sums)) for run in self._runs]
        self.shift += bits


def _counted(keys: UInt32[np.ndarray, " N"]) -> _Bins:
    """Negatives only: sorting the keys themselves is several times quicker than sorting rows by them."""
    keys.sort()
    starts = _starts(keys)
    sums = np.zeros((3, len(starts)))
    sums[0] = np.diff(starts, append=len(keys))
    return _Bins(keys[starts], sums)


def _summed(bins: _Bins) -> _Bins:
    order = np.argsort(bins.keys, kind="stable")
    keys = bins.keys[order]
    starts = _starts(keys)
    if not len(starts):
        return bins
    return _Bins(keys[starts], np.stack([np.add.reduceat(row[order], starts) for row in bins.sums]))


def _starts(keys: UInt32[np.ndarray, " N"]) -> np.ndarray:
    """Where each distinct key begins among sorted ones."""
    return np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
