"""The loop-scheduler contract: what the next loop does, as plain data. No tensor and no torch here."""

from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from .options import TowerName


@dataclass(frozen=True)
class OptimizerPlan:
    """An optimiser, new at each phase of each loop."""

    name: Literal["adam", "adamw"] = "adam"
    rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    clip_norm: float | None = None


@dataclass(frozen=True)
class RatePlan:
    """How the rate changes within a phase.

    "constant"; "milestones": halves (`factor`) at each of `at`, fractions of the phase's steps where below or equal
    to 1, otherwise step numbers; "warmup_cosine": linear over `warmup_epochs`, then a cosine to zero.
    """

    kind: Literal["constant", "milestones", "warmup_cosine"] = "constant"
    at: tuple[float, ...] = ()
    factor: float = 0.5
    warmup_epochs: int = 0


@dataclass(frozen=True)
class PhasePlan:
    """One phase trains one tower's stages and heads.

    `features` says which image features a text phase sees: of the frozen backbone, or of the trained vision side.
    `attention` switches the tower's stages that have a context on or off (adapters always act); those of the other
    tower act as they did when it last trained.
    """

    train: TowerName
    epochs: int
    batch_size: int
    optimizer: OptimizerPlan
    rate: RatePlan = field(default_factory=RatePlan)
    features: Literal["frozen", "trained"] = "frozen"
    attention: bool = True


@dataclass(frozen=True)
class LoopPlan:
    """One loop: its phases in order."""

    phases: tuple[PhasePlan, ...]


@dataclass(frozen=True)
class LoopRecord:
    """What a finished loop did: its plan, and the mean of each validation metric (empty without validation data)."""

    plan: LoopPlan
    validation: dict[str, float | None] = field(default_factory=dict)


@runtime_checkable
class LoopScheduler(Protocol):
    """Decides loop after loop. Test data never reaches it."""

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of loop `len(history) + 1`, or None when the run is done."""
