"""A plugin file of schedulers that each break one promise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from aaclip_kit import LoopPlan, OptimizerPlan, Options, PhasePlan, RatePlan, hookimpl


class GoodOptions(Options):
    """Two loops, three where the pixel AUROC is above one half."""


class Undocumented(Options):
    pass


class Good:
    """Keeps every promise; the others differ from it in one."""

    def __init__(self, options: Any) -> None:
        self.asked = 0

    def next_loop(self, history: Any) -> Any:
        found = history[-1].validation.get("pixel_auroc") if history else None
        return None if len(history) >= 2 + ((found or 0) > 0.5) else self.plan()

    def plan(self) -> Any:
        return LoopPlan((self.phase("text"), self.phase("vision")))

    def phase(self, tower: Any) -> Any:
        return PhasePlan(tower, 2, 2, OptimizerPlan(learning_rate=1e-3), RatePlan("warmup_cosine", warmup_epochs=1))


class NoMethod:
    def __init__(self, options: Any) -> None:
        pass


class APhase(Good):
    def plan(self) -> Any:
        return self.phase("text")


class NoPhases(Good):
    def plan(self) -> Any:
        return LoopPlan(())


class Endless(Good):
    def next_loop(self, history: Any) -> Any:
        return self.plan()


class UntilItIsGood(Good):
    def next_loop(self, history: Any) -> Any:
        if history and history[-1].validation.get("pixel_auroc", 1.0) == 0.0:
            return self.plan()
        return super().next_loop(history)


class UnknownTower(Good):
    def plan(self) -> Any:
        return LoopPlan((self.phase("image"),))


class HalfAnEpoch(Good):
    def phase(self, tower: Any) -> Any:
        return replace(super().phase(tower), epochs=2.5)


class NoBatch(Good):
    def phase(self, tower: Any) -> Any:
        return replace(super().phase(tower), batch_size=0)


class NoRate(Good):
    def phase(self, tower: Any) -> Any:
        return replace(super().phase(tower), optimizer=OptimizerPlan(learning_rate=math.nan))


class AnotherOptimizer(Good):
    def phase(self, tower: Any) -> Any:
        return replace(super().phase(tower), optimizer=OptimizerPlan("sgd"))  # type: ignore[arg-type]


class LongWarmup(Good):
    def phase(self, tower: Any) -> Any:
        return replace(super().phase(tower), rate=RatePlan("warmup_cosine", warmup_epochs=3))


class CountsCalls(Good):
    def next_loop(self, history: Any) -> Any:
        self.asked += 1
        return None if self.asked > 2 else self.plan()


class RemembersTheRate(Good):
    rate = 1e-3

    def phase(self, tower: Any) -> Any:
        self.rate *= 0.5
        return replace(super().phase(tower), optimizer=OptimizerPlan(learning_rate=self.rate))


class NeedsFigures(Good):
    def next_loop(self, history: Any) -> Any:
        if history and history[-1].validation.get("pixel_auroc", 0.0) > 0.5:
            return None
        return super().next_loop(history)


class NeedsAnAuroc(Good):
    def next_loop(self, history: Any) -> Any:
        if history and history[-1].validation:
            assert "pixel_auroc" in history[-1].validation, "no pixel AUROC"
        return super().next_loop(history)


class ImportsTorch(Good):
    def plan(self) -> Any:
        import torch

        return super().plan() if torch.ones(1) else None


class RateBeyondAll(Good):
    def phase(self, tower: Any) -> Any:
        return replace(super().phase(tower), optimizer=OptimizerPlan(learning_rate=1e30))


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "C1"),
    "no_method": (NoMethod, GoodOptions, "C2"),
    "a_phase": (APhase, GoodOptions, "C2"),
    "no_phases": (NoPhases, GoodOptions, "C2"),
    "endless": (Endless, GoodOptions, "C3"),
    "until_it_is_good": (UntilItIsGood, GoodOptions, "C3"),
    "unknown_tower": (UnknownTower, GoodOptions, "C4"),
    "half_an_epoch": (HalfAnEpoch, GoodOptions, "C4"),
    "no_batch": (NoBatch, GoodOptions, "C4"),
    "no_rate": (NoRate, GoodOptions, "C4"),
    "another_optimizer": (AnotherOptimizer, GoodOptions, "C4"),
    "long_warmup": (LongWarmup, GoodOptions, "C4"),
    "counts_calls": (CountsCalls, GoodOptions, "C5"),
    "remembers_the_rate": (RemembersTheRate, GoodOptions, "C5"),
    "needs_figures": (NeedsFigures, GoodOptions, "C6"),
    "needs_an_auroc": (NeedsAnAuroc, GoodOptions, "C6"),
    "imports_torch": (ImportsTorch, GoodOptions, "C7"),
    "rate_beyond_all": (RateBeyondAll, GoodOptions, "C8"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_schedulers(register: Any) -> None:
    register("good", Good, GoodOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
