"""What a store of features is to its caller, and the one that keeps them in memory."""

from typing import Protocol, runtime_checkable

from torch import Tensor, contiguous_format


@runtime_checkable
class FeatureStore(Protocol):
    """Features by key. A store may lose what it was given, and never gives anything else back."""

    def get(self, key: str) -> Tensor | None:
        """The features, on the CPU and bit for bit as they were put; None where they are not held.

        The caller must not change them in place.
        """
        ...

    def put(self, key: str, features: Tensor) -> None:
        """Keep a copy if there is room. Never raises for want of room or a failing disk."""
        ...

    def drain(self) -> list[str]:
        """Lines for the user since the last call: full, damaged, failing; each kind at most once a run."""
        ...


class Notices:
    """Lines for the user, of which each kind is told once."""

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._waiting: list[str] = []

    def add(self, kind: str, line: str) -> None:
        """Keep the line unless one of its kind has been told."""
        if kind not in self._told:
            self._told.add(kind)
            self._waiting.append(line)

    def drain(self) -> list[str]:
        """The lines that nobody has fetched yet."""
        found, self._waiting = self._waiting, []
        return found


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
