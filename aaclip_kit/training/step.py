"""One training step: what it reports, and what is asked of whoever looks on between two of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..contracts.errors import UserError
from ..data.loader import Batch
from .optimizer import OptimizerStepper, PendingStats


@dataclass(frozen=True)
class Step:
    """What one training step reports."""

    loop: int
    phase: str
    epoch: int
    step: int
    loss: float
    terms: dict[str, float]
    learning_rate: float
    gradient_norms: dict[str, float]
    """Norm of each trained group's gradient, before clipping: the file's stage names, and the tower's heads."""

    def as_event(self) -> dict[str, Any]:
        """Return the step's line of `events.jsonl`, whose keys scripts read."""
        return {
            "event": "step", "loop": self.loop, "phase": self.phase, "epoch": self.epoch, "step": self.step,
            "loss": self.loss, "terms": self.terms, "rate": self.learning_rate, "gradient_norms": self.gradient_norms,
        }  # fmt: skip


@dataclass(frozen=True)
class PendingStep:
    """A step that has been taken, and whose numbers may still be on their way from the device."""

    batch: Batch
    epoch: int
    step: int
    learning_rate: float
    schedule_at: int
    """How many steps the learning rate's schedule had taken."""
    stats: PendingStats
    random: Tensor
    """The random state that the step began with."""


class StepCallback:
    """Looks at a phase between its steps. As it stands it reports each step and does nothing else.

    A device that runs ahead is one step further when a step is reported.
    """

    first_step: int = 0
    """Steps of the phase that an earlier process has taken."""
    may_skip: bool = False
    """Whether steps whose numbers are not finite can be left out at all."""

    def __init__(self, report: Callable[[Step], None] = lambda step: None) -> None:
        self.report = report

    def begin(self, stepper: OptimizerStepper) -> None:
        """Prepare the optimizer for the phase's first step, or the one after `first_step`."""

    def pause_wanted(self) -> bool:
        """Return whether `pause` is to be called after this step; a device that runs ahead is then waited for."""
        return False

    def pause(self, stepper: OptimizerStepper, step: int) -> None:
        """Act where so many steps are done and reported, and nothing else has begun."""

    def skips(self, pending: PendingStep, fault: UserError) -> bool:
        """Return whether the phase is to go on without a step whose numbers are not finite."""
        return False

    def keep_fault(self, stepper: OptimizerStepper, pending: PendingStep, fault: UserError) -> None:
        """Keep what led to the fault that is about to end the run; the weights are those before the step."""
