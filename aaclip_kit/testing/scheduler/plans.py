"""Plan after plan, without a run."""

from __future__ import annotations

from typing import Any

from ...contracts.schedule import LoopPlan, LoopRecord, LoopScheduler
from ...training.loop_plans import MOST_LOOPS
from ..check import Found
from ..subject import Subject

FIGURES: tuple[dict[str, float | None], ...] = (
    {},
    {"pixel_auroc": None, "image_auroc": None},
    {"some_other_figure": 0.5},
    {"pixel_auroc": 0.5, "image_auroc": None},
)
"""What a loop's validation may have come to."""


def build(subject: Subject) -> LoopScheduler:
    """The scheduler."""
    scheduler = subject.build()
    if not isinstance(scheduler, LoopScheduler):
        raise Found(f"the factory gave {type(scheduler).__name__}, which has no next_loop(history)")
    return scheduler


def histories(scheduler: LoopScheduler, figures: dict[str, float | None] | None = None) -> list[tuple[LoopRecord, ...]]:
    """The history before each loop and after the last, each loop with these validation figures.

    Raises `Found` where there is no end to the loops.
    """
    found = [tuple[LoopRecord, ...]()]
    while (plan := ask(scheduler, found[-1])) is not None:
        found.append((*found[-1], LoopRecord(plan, dict(figures or {}))))
        if len(found) > MOST_LOOPS + 1:
            raise Found(f"it still has a plan after {MOST_LOOPS} loops")
    return found


def ask(scheduler: LoopScheduler, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
    """The next plan. Raises `Found` for what is neither a plan nor None."""
    plan: Any = scheduler.next_loop(history)
    if plan is not None and not isinstance(plan, LoopPlan):
        raise Found(f"after {len(history)} loops it returned {type(plan).__name__}, which is no LoopPlan")
    return plan


def gives_plans(subject: Subject) -> None:
    """The first plan, and the one after it."""
    scheduler = build(subject)
    first = ask(scheduler, ())
    if first is None:
        raise Found("it has no plan for the first loop")
    second = ask(scheduler, (LoopRecord(first),))
    if empty := [number for number, plan in enumerate((first, second), 1) if plan and not plan.phases]:
        raise Found(f"the plan of loop {empty[0]} has no phase")


def comes_to_an_end(subject: Subject) -> None:
    """With figures that grow, and with figures that stay."""
    for figures in ({"pixel_auroc": 0.9, "image_auroc": 0.9}, {"pixel_auroc": 0.0, "image_auroc": 0.0}):
        histories(build(subject), dict(figures))


def same_history_same_plan(subject: Subject) -> None:
    """Every history again, from the last to the first, and of a scheduler that was asked nothing before."""
    scheduler = build(subject)
    known = histories(scheduler)
    plans = [record.plan for record in known[-1]]
    expected = [*plans, None]
    for loops in reversed(range(len(known))):
        for asked in (scheduler, build(subject)):
            if ask(asked, known[loops]) != expected[loops]:
                raise Found(f"asked again after {loops} loops, it gave another plan than before")


def copes_without_validation(subject: Subject) -> None:
    """Run through the loops with each kind of figures."""
    for figures in FIGURES:
        try:
            histories(build(subject), figures)
        except Found as found:
            raise Found(f"with the validation figures {figures}, {found}") from None
        except Exception as error:
            problem = f"with the validation figures {figures}, next_loop raised {type(error).__name__}: {error}"
            raise Found(problem) from error
