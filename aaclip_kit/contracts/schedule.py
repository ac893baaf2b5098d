"""The loop-scheduler contract: what the next loop does, as plain data. No tensor and no torch here."""

from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args, runtime_checkable

from .deprecation import renamed_argument, renamed_attribute
from .options import TOWERS, TowerName

Trains = Literal["text", "vision", "both"]
"""What a phase trains: one tower's stages with the prompts (text) or the head (vision), or all of it at once."""

TRAINS: Final[tuple[Trains, ...]] = get_args(Trains)


def towers_of(trains: Trains) -> tuple[TowerName, ...]:
    """The towers that such a phase trains."""
    return TOWERS if trains == "both" else (trains,)


@renamed_argument("OptimizerPlan.rate", lambda rate: {"learning_rate": rate})
@dataclass(frozen=True)
class OptimizerPlan:
    """An optimizer, new at each phase of each loop."""

    name: Literal["adam", "adamw"] = "adam"
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.0
    clip_norm: float | None = None

    rate = renamed_attribute("OptimizerPlan.rate", "learning_rate")


def _milestones(at: tuple[float, ...]) -> dict[str, tuple[float, ...] | tuple[int, ...]]:
    """Return the arguments that say what `at` said, by the size of each number."""
    return {
        "at_fractions": tuple(place for place in at if place <= 1),
        "at_steps": tuple(int(place) for place in at if place > 1),
    }


@renamed_argument("RatePlan.at", _milestones)
@dataclass(frozen=True)
class RatePlan:
    """How the learning rate changes within a phase.

    "constant"; "milestones": multiplied by `factor` at each of `at_fractions` of the phase's steps (above 0, at most 1)
    and after each number of steps in `at_steps`; "warmup_cosine": linear over `warmup_epochs`, then a cosine to zero.
    """

    kind: Literal["constant", "milestones", "warmup_cosine"] = "constant"
    at_fractions: tuple[float, ...] = ()
    at_steps: tuple[int, ...] = ()
    factor: float = 0.5
    warmup_epochs: int = 0

    at = renamed_attribute("RatePlan.at", "_milestones")

    @property
    def _milestones(self) -> tuple[float, ...]:
        return (*self.at_fractions, *self.at_steps)


@dataclass(frozen=True)
class PhasePlan:
    """One phase trains a tower's stages, with the prompts (text) or the head (vision), or both towers.

    `features` says which image features a text phase sees: of the frozen backbone, or of the trained vision side.
    `attention` switches what it trains of stages that have a context on or off (adapters always act); those of the
    other tower act as they did when it last trained.
    """

    train: Trains
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
        """The plan of loop `len(history) + 1`, or None when the run is done: at once where nothing is to be trained."""
