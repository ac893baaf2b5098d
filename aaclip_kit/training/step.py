"""What one training step reports, and what a phase is told of it."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..contracts.errors import UserError
from ..data.loader import Batch
from .optimizer import Descent, Numbers


@dataclass(frozen=True)
class Step:
    """What one training step reports."""

    loop: int
    phase: str
    epoch: int
    step: int
    loss: float
    terms: dict[str, float]
    rate: float
    gradient_norms: dict[str, float]
    """Norm of each trained group's gradient, before clipping: the file's stage names, and the tower's heads."""


@dataclass(frozen=True)
class Taken:
    """A step that has been taken, and of which nobody knows the numbers yet."""

    batch: Batch
    epoch: int
    step: int
    rate: float
    rate_at: int
    """How far the rate had come on its way."""
    numbers: Numbers
    random: Tensor
    """The random state that the step began with."""


@runtime_checkable
class Pauses(Protocol):
    """Looks at a phase between its steps: where it begins, in the middle if need be, and when its state is wanted."""

    @property
    def done(self) -> int:
        """Steps of the phase that an earlier process has taken."""

    @property
    def may_skip(self) -> bool:
        """Whether steps whose numbers are not finite can be left out at all."""

    def begin(self, descent: Descent) -> None:
        """The phase is about to take its first step, or the one after those that are done."""

    def wanted(self) -> bool:
        """Whether `pause` is to be called after this step; a place that runs ahead then waits for the device."""

    def pause(self, descent: Descent, step: int) -> None:
        """So many steps are done and reported, and nothing else has begun."""

    def skips(self, taken: Taken, fault: UserError) -> bool:
        """Whether the phase is to go on without a step whose numbers are not finite."""

    def keep_fault(self, descent: Descent, taken: Taken, fault: UserError) -> None:
        """A step is about to end the run since its numbers are not finite; the weights are those before it."""
