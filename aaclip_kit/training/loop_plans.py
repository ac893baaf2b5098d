"""Loops as a plugin's scheduler plans them, looked at before the engine goes by them."""

from collections.abc import Sequence
from math import isfinite
from typing import Final

from ..contracts.errors import UserError
from ..contracts.options import TowerName
from ..contracts.schedule import TRAINS, LoopPlan, LoopRecord, LoopScheduler, PhasePlan, towers_of
from ..experiment import Experiment
from ..plugin_host.registry import MEND

MOST_LOOPS: Final = 100


class CheckedScheduler:
    """Passes on what a scheduler plans. Raises `UserError`, naming the plugin, for what cannot be run."""

    def __init__(self, scheduler: LoopScheduler, owner: str) -> None:
        self.scheduler, self.owner = scheduler, owner

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """See `LoopScheduler`."""
        where = f"scheduler ({type(self.scheduler).__qualname__}, of {self.owner})"
        try:
            plan = self.scheduler.next_loop(history)
        except UserError:
            raise
        except Exception as error:
            problem = f"planning loop {len(history) + 1} raised {type(error).__name__}: {error}"
            raise UserError(problem, where=where, fix=MEND) from error
        faults = [] if plan is None else _faults(plan, len(history))
        if faults:
            problem = f"the plan of loop {len(history) + 1} cannot be run: {'; '.join(faults)}"
            raise UserError(problem, where=where, fix="correct its options, or mend the plugin")
        return plan


def _faults(plan: object, loops: int) -> list[str]:
    if loops >= MOST_LOOPS:
        return [f"a run has at most {MOST_LOOPS} loops"]
    if not isinstance(plan, LoopPlan):
        return [f"it is a {type(plan).__name__}, not a LoopPlan"]
    if not plan.phases:
        return ["it has no phase"]
    return [f"phase {number}: {fault}" for number, phase in enumerate(plan.phases, 1) for fault in _phase_faults(phase)]


def _phase_faults(phase: object) -> list[str]:
    if not isinstance(phase, PhasePlan):
        return [f"it is a {type(phase).__name__}, not a PhasePlan"]
    rate = phase.optimizer.learning_rate
    faulty = {
        f"it trains {phase.train!r}, which is none of 'text', 'vision' and 'both'": phase.train in TRAINS,
        f"it has {phase.epochs!r} epochs": phase.epochs >= 1,
        f"its batches are of {phase.batch_size!r} images": phase.batch_size >= 1,
        f"its learning rate is {rate!r}": isfinite(rate) and rate > 0,
    }
    return [fault for fault, good in faulty.items() if not good]


def build_scheduler(experiment: Experiment) -> LoopScheduler:
    """The loop scheduler, whose plans are looked at before the engine goes by them."""
    component = experiment.scheduler.component
    return CheckedScheduler(component.build(experiment.scheduler.options), str(component.plugin))


def plan_ahead(scheduler: LoopScheduler) -> list[LoopPlan]:
    """The loops as far as they are known now: what the scheduler plans if it learns nothing on the way."""
    history: list[LoopRecord] = []
    while len(history) < MOST_LOOPS and (plan := scheduler.next_loop(tuple(history))) is not None:
        history.append(LoopRecord(plan))
    return [record.plan for record in history]


def stream_number(phases: Sequence[PhasePlan], number: int) -> int:
    """Number a phase, for its random streams, by what it trains and by how many phases of that stand before it.

    So a phase of another tower that is added or left out changes neither its batches nor its dropout.
    """
    trains = phases[number].train
    return len(TRAINS) * sum(phase.train == trains for phase in phases[:number]) + TRAINS.index(trains)


def attending_after(plan: PhasePlan, before: frozenset[TowerName]) -> frozenset[TowerName]:
    """Towers whose stages with a context act in a phase: its own by the plan, the other as it last trained."""
    own = frozenset(towers_of(plan.train))
    return before | own if plan.attention else before - own
