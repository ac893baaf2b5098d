"""The bound of the folder: how much may still be written, and what must go first."""

from collections.abc import Collection
from pathlib import Path

from .folder import Entry, entries, remove


class Room:
    """Bytes that may be added to `folder` before it exceeds `bound`.

    Other runs write there too, so the folder is looked at again after each twentieth of the bound: so much is the most
    by which each run that writes at the same time can exceed it. Raises OSError where the folder cannot be read.
    """

    def __init__(self, folder: Path, bound: int) -> None:
        self.folder, self.bound, self.step = folder, bound, bound // 20
        self._free = min(bound - _size(entries(folder)), self.step)

    def take(self, size: int, kept: Collection[Path]) -> bool:
        """Whether `size` bytes may be written, after removing entries used longest ago, of any backbone, if need be.

        `kept` are never removed; nothing is, where that would not be enough.
        """
        if self._free < size:
            self._free = self._make(max(size, self.step), size, kept)
        if self._free < size:
            return False
        self._free -= size
        return True

    def _make(self, wanted: int, least: int, kept: Collection[Path]) -> int:
        """Remove until `wanted` bytes are free, or nothing is left that may go; at least `least` must become free."""
        found = entries(self.folder)
        held, others = _size(found), sorted((one for one in found if one.path not in kept), key=lambda one: one.used)
        if held - _size(others) + least > self.bound:
            return 0
        for oldest in others:
            if held + wanted <= self.bound:
                break
            if not remove([oldest]):
                held -= oldest.size
        return min(self.bound - held, wanted)


def _size(found: Collection[Entry]) -> int:
    return sum(entry.size for entry in found)
