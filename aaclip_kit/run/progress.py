"""What a run tells whoever watches it."""

from typing import Protocol, runtime_checkable

from ..contracts.schedule import PhasePlan
from ..training.step import Step


@runtime_checkable
class Progress(Protocol):
    """What a run tells whoever watches it."""

    def phase(self, loop: int, plan: PhasePlan, steps: int) -> None:
        """A phase of `steps` steps begins."""

    def step(self, step: Step) -> None:
        """A training step is done."""

    def evaluated(self, loop: int, mean: dict[str, float | None]) -> None:
        """The test classes have been scored after `loop`, or before training (0)."""

    def message(self, text: str) -> None:
        """Something worth a line."""
