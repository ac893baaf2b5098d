"""Features in memory, as far as they fit."""

from torch import Tensor, contiguous_format

from .store import Notices


class MemoryStore:
    """A `FeatureStore` of at most `bound` bytes of features: what comes first stays.

    An epoch uses each view once, so the view used longest ago is the next that is wanted: nothing is gained by
    removing it for another.
    """

    def __init__(self, bound: int) -> None:
        self.bound, self.held = bound, 0
        self._features: dict[str, Tensor] = {}
        self._notices = Notices()

    def get(self, key: str) -> Tensor | None:
        """See `FeatureStore`."""
        return self._features.get(key)

    def put(self, key: str, features: Tensor) -> None:
        """See `FeatureStore`."""
        if key in self._features:
            return
        if self.held + features.nbytes > self.bound:
            full = f"the memory for frozen features is full (cache.memory_gb = {self.bound / 1e9:g})"
            self._notices.add("full", f"{full}: those that it does not hold are made every time")
            return
        # A copy, since a part of a batch would keep the whole batch in memory.
        self._features[key] = features.detach().to("cpu", copy=True, memory_format=contiguous_format)
        self.held += features.nbytes

    def drain(self) -> list[str]:
        """See `FeatureStore`."""
        return self._notices.drain()
