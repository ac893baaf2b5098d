"""Image scores as they are published: normalised by the whole test set of a class."""

import numpy as np
from jaxtyping import Float

from ..contracts.data import Domain


class MinMaxScores:
    """Collects map peaks and detection scores of a class, whose image scores are published as min-max over all of it.

    The one place where scores are normalised by the test set, and where something is kept of every image: two numbers
    (method: section 8).
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self._peaks: list[np.ndarray] = []
        self._detection: list[np.ndarray] = []
        self._lowest = np.float32(np.inf)

    def add(self, maps: Float[np.ndarray, "B S S"], detection: Float[np.ndarray, " B"]) -> None:
        """Note the images of a batch."""
        self._peaks.append(maps.max(axis=(1, 2)))
        self._detection.append(detection)
        self._lowest = min(self._lowest, maps.min())

    def merge(self, other: "MinMaxScores") -> None:
        """Add the images that another has noted, after those noted here."""
        self._peaks += other._peaks
        self._detection += other._detection
        self._lowest = min(self._lowest, other._lowest)

    def image_scores(self) -> Float[np.ndarray, " n"]:
        """One score for each image seen: half the normalised peak and half the normalised detection score.

        For medical data the normalised peak alone. A class whose values are all equal has 0 for them.
        """
        peaks, detection = np.concatenate(self._peaks), np.concatenate(self._detection)
        peaks = _scaled(peaks, self._lowest, peaks.max())
        if self.domain == "medical":
            return peaks
        return 0.5 * peaks + 0.5 * _scaled(detection, detection.min(), detection.max())


def _scaled(values: np.ndarray, low: np.floating, high: np.floating) -> np.ndarray:
    return (values - low) / ((high - low) or 1.0)
