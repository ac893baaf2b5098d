"""A scheduler in a whole run."""

from __future__ import annotations

from dataclasses import replace

from ...contracts.schedule import LoopPlan, LoopRecord, LoopScheduler, PhasePlan
from ..check import Found
from ..subject import Subject
from ..trial import run_tiny

LOOPS = 2


def leads_a_run(subject: Subject) -> None:
    """Two loops at most, cut to an epoch a phase."""
    with run_tiny(subject, lead=_Shortened, scheduler={**subject.table, "use": subject.name}) as trial:
        if bad := [name for name, change in trial.changes.items() if change != change]:
            raise Found(f"after the run these are not finite: {', '.join(bad)}")
        if not any(trial.changes.values()):
            raise Found("the run changed no weight at all")


class _Shortened:
    """Another scheduler's plans, the first two, with one epoch a phase."""

    def __init__(self, scheduler: LoopScheduler) -> None:
        self.scheduler = scheduler

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The scheduler is told that its own plans were followed."""
        told: tuple[LoopRecord, ...] = ()
        for done in history:
            plan = self.scheduler.next_loop(told)
            assert plan is not None
            told = (*told, LoopRecord(plan, done.validation))
        plan = None if len(history) == LOOPS else self.scheduler.next_loop(told)
        return None if plan is None else LoopPlan(tuple(map(_short, plan.phases)))


def _short(phase: PhasePlan) -> PhasePlan:
    return replace(phase, epochs=1, rate=replace(phase.rate, warmup_epochs=0))
