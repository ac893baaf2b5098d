"""The checks of a loop scheduler: plan after plan without a run, what stands in them, and a run that they lead."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..contracts.schedule import TRAINS, LoopPlan, LoopRecord, LoopScheduler, OptimizerPlan, PhasePlan, RatePlan
from ..training.loop_plans import MOST_LOOPS
from .subject import Breach, NotApplicable, Subject
from .trial import run_tiny

FIGURES: tuple[dict[str, float | None], ...] = (
    {},
    {"pixel_auroc": None, "image_auroc": None},
    {"some_other_figure": 0.5},
    {"pixel_auroc": 0.5, "image_auroc": None},
)
"""What a loop's validation may have come to."""

UNTRAINED = "it plans no loop, so that the model is scored as it is"


def histories(scheduler: LoopScheduler, figures: dict[str, float | None] | None = None) -> list[tuple[LoopRecord, ...]]:
    """The history before each loop and after the last, with these figures. Raises `Breach` where there is no last."""
    known = [tuple[LoopRecord, ...]()]
    while (plan := ask(scheduler, known[-1])) is not None:
        known.append((*known[-1], LoopRecord(plan, dict(figures or {}))))
        if len(known) > MOST_LOOPS + 1:
            raise Breach(f"it still has a plan after {MOST_LOOPS} loops")
    return known


def ask(scheduler: LoopScheduler, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
    """The next plan. Raises `Breach` for what is neither a plan nor None."""
    plan: Any = scheduler.next_loop(history)
    if plan is not None and not isinstance(plan, LoopPlan):
        raise Breach(f"after {len(history)} loops it returned {type(plan).__name__}, which is no LoopPlan")
    return plan


def gives_plans(subject: Subject) -> None:
    """The first plan, and the one after it."""
    scheduler = subject.make(LoopScheduler)
    first = ask(scheduler, ())
    if first is None:
        raise NotApplicable(UNTRAINED)
    second = ask(scheduler, (LoopRecord(first),))
    if empty := [number for number, plan in enumerate((first, second), 1) if plan and not plan.phases]:
        raise Breach(f"the plan of loop {empty[0]} has no phase")


def comes_to_an_end(subject: Subject) -> None:
    """With figures that grow, and with figures that stay."""
    for figures in ({"pixel_auroc": 0.9, "image_auroc": 0.9}, {"pixel_auroc": 0.0, "image_auroc": 0.0}):
        histories(subject.make(LoopScheduler), dict(figures))


def same_history_same_plan(subject: Subject) -> None:
    """Every history again, from the last to the first, and of a scheduler that was asked nothing before."""
    scheduler = subject.make(LoopScheduler)
    known = histories(scheduler)
    expected = [*(record.plan for record in known[-1]), None]
    for loops in reversed(range(len(known))):
        for asked in (scheduler, subject.make(LoopScheduler)):
            if ask(asked, known[loops]) != expected[loops]:
                raise Breach(f"asked again after {loops} loops, it gave another plan than before")


def copes_without_validation(subject: Subject) -> None:
    """Run through the loops with each kind of figures."""
    for figures in FIGURES:
        try:
            histories(subject.make(LoopScheduler), figures)
        except Breach as breach:
            raise Breach(f"with the validation figures {figures}, {breach}") from None
        except Exception as error:
            problem = f"with the validation figures {figures}, next_loop raised {type(error).__name__}: {error}"
            raise Breach(problem) from error


def plans_are_valid(subject: Subject) -> None:
    """Every phase of every loop."""
    for loop, record in enumerate(histories(subject.make(LoopScheduler))[-1], start=1):
        for number, phase in enumerate(record.plan.phases, start=1):
            for said, right in _phase(phase):
                if not right:
                    raise Breach(f"in loop {loop}, phase {number}, {said}")


def _phase(phase: PhasePlan) -> Iterator[tuple[str, bool]]:
    if not isinstance(phase, PhasePlan):
        yield f"there is a {type(phase).__name__} in place of a PhasePlan", False
        return
    yield f"train is {phase.train!r}, which is no tower and not 'both'", phase.train in TRAINS
    yield f"epochs is {phase.epochs!r}", _whole(phase.epochs, 1)
    yield f"batch_size is {phase.batch_size!r}", _whole(phase.batch_size, 1)
    yield f"features is {phase.features!r}", phase.features in ("frozen", "trained")
    yield f"attention is {phase.attention!r}", isinstance(phase.attention, bool)
    yield f"optimizer is {phase.optimizer!r}, no OptimizerPlan", isinstance(phase.optimizer, OptimizerPlan)
    yield f"rate is {phase.rate!r}, no RatePlan", isinstance(phase.rate, RatePlan)
    plan, rate = phase.optimizer, phase.rate
    yield f"the optimiser is {plan.name!r}, not 'adam' or 'adamw'", plan.name in ("adam", "adamw")
    yield f"its learning rate is {plan.learning_rate!r}", _number(plan.learning_rate) and plan.learning_rate > 0
    betas = isinstance(plan.betas, tuple) and len(plan.betas) == 2
    yield f"its betas are {plan.betas!r}", betas and all(_number(beta) and 0 <= beta < 1 for beta in plan.betas)
    yield f"its weight_decay is {plan.weight_decay!r}", _number(plan.weight_decay) and plan.weight_decay >= 0
    clip = plan.clip_norm
    yield f"its clip_norm is {clip!r}", clip is None or (_number(clip) and clip > 0)
    yield f"the rate's kind is {rate.kind!r}", rate.kind in ("constant", "milestones", "warmup_cosine")
    fractions, steps, warm = rate.at_fractions, rate.at_steps, rate.warmup_epochs
    good = isinstance(fractions, tuple) and all(_number(part) and 0 < part <= 1 for part in fractions)
    yield f"its at_fractions are {fractions!r}", good
    yield f"its at_steps are {steps!r}", isinstance(steps, tuple) and all(_whole(step, 1) for step in steps)
    yield f"its factor is {rate.factor!r}", _number(rate.factor) and rate.factor > 0
    yield f"its warmup_epochs is {warm!r} of {phase.epochs}", _whole(warm, 0) and warm <= phase.epochs


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


PROGRAM = """
import json, sys
from pathlib import Path
from aaclip_kit.plugin_host.discovery import discover, with_plugin_files
name, options, file = json.loads(sys.argv[1])
registry = discover() if file is None else with_plugin_files(discover(), [Path(file)], "plugin_file")
before = "torch" in sys.modules
component = registry.get("scheduler", name)
component.build(component.options.model_validate_json(options)).next_loop(())
print(before, "torch" in sys.modules)
"""
"""Prints whether torch was there when all plugins had been loaded, and after the component was used."""


def needs_no_torch(subject: Subject) -> None:
    """Build it and ask for the first plan."""
    file = None if subject.plugin_file is None else str(subject.plugin_file)
    given = json.dumps([subject.name, subject.options().model_dump_json(), file])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-c", PROGRAM, given]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    if ran.returncode:
        raise Breach(f"in a process of its own it failed: {ran.stderr.strip().splitlines()[-1]}")
    before, after = ran.stdout.split()[-2:]
    if before == "True":
        raise NotApplicable("a plugin imports torch when it is loaded, so this cannot be told")
    if after == "True":
        raise Breach("torch was imported when it was built and asked for a plan")


LOOPS = 2


def leads_a_run(subject: Subject) -> None:
    """Two loops at most, cut to an epoch a phase."""
    if ask(subject.make(LoopScheduler), ()) is None:
        raise NotApplicable(UNTRAINED)
    with run_tiny(subject, lead=_Shortened, scheduler=subject.chosen) as trial:
        if not any(trial.changes.values()):
            raise Breach("the run changed no weight at all")


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
        if plan is None:
            return None
        phases = (replace(phase, epochs=1, rate=replace(phase.rate, warmup_epochs=0)) for phase in plan.phases)
        return LoopPlan(tuple(phases))
