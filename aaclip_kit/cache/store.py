"""What a store of features is to its caller, and the lines that it has for the user."""

from typing import Protocol, runtime_checkable

from torch import Tensor


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
