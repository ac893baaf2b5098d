"""What the steps of a run need of memory, beside what there is, and what was decided."""

from dataclasses import dataclass
from typing import Any

from ..contracts.schedule import Trains

GB = 1e9


def in_gb(size: int) -> str:
    """Bytes in GB, without the unit."""
    return f"{size / GB:.1f}" if size >= GB else f"{size / GB:.2g}"


@dataclass(frozen=True)
class StepNeed:
    """Bytes that a step of one kind of phase needs on its device, with everything that has to be there beside it.

    `recomputed` is the same where vision blocks are run again in the backward pass; None where that saves nothing, or
    was not asked.
    """

    tower: Trains
    images: int
    kept: int
    recomputed: int | None = None

    def bytes(self, recompute: bool) -> int:
        """What the step needs, with or without."""
        return self.recomputed if recompute and self.recomputed is not None else self.kept

    def __str__(self) -> str:
        again = "" if self.recomputed is None else f" ({in_gb(self.recomputed)} with recompute)"
        return f"{self.tower} step of {self.images} images: about {in_gb(self.kept)} GB{again}"


@dataclass(frozen=True)
class MemoryPlan:
    """What the run was found to need before it began; `unknown` says why nothing was found, where that is so."""

    needs: tuple[StepNeed, ...]
    free: int
    """Bytes that the run may use, its weights included."""
    recompute: bool
    unknown: str | None = None

    @property
    def lines(self) -> list[str]:
        """One line a kind of phase."""
        decision = f": recompute {'on' if self.recompute else 'off'}"
        if self.unknown is not None:
            return [f"cannot be foreseen ({self.unknown}){decision}"]
        decided = {"text": "", "vision": decision}
        return [f"{need}, {in_gb(self.free)} free{decided[need.tower]}" for need in self.needs]

    @property
    def notice(self) -> str | None:
        """What a run says of it: nothing, unless vision blocks are recomputed."""
        return f"memory: {'; '.join(self.lines)}" if self.recompute else None

    def record(self) -> dict[str, Any]:
        """The same as plain data, in bytes."""
        steps = [
            {"phase": need.tower, "images": need.images, "bytes": need.kept, "bytes_with_recompute": need.recomputed}
            for need in self.needs
        ]
        return {"steps": steps, "free_bytes": self.free, "recompute": self.recompute, "unknown": self.unknown}
