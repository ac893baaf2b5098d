"""The one run loop. What differs between methods is the experiment file."""

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

import torch

from ..contracts.options import TowerName
from ..contracts.schedule import LoopRecord, PhasePlan
from ..data.batches import TrainBatches
from ..evaluation.evaluate import ClassScores, Evaluator
from ..evaluation.rules import rule_metrics
from ..experiment import resolved_toml
from ..record.folder import RunFolder
from ..record.manifest import collect_manifest
from ..record.report import write_report
from .assemble import Run
from .checkpoint import save
from .pictures import Cases, rule_images
from .training import Phase, Step

Metrics = dict[str, Any]


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


def execute(run: Run, folder: RunFolder, progress: Progress) -> Metrics:
    """Evaluate, train loop after loop, evaluate, and write everything down. Returns what `metrics.json` holds."""
    return _Execution(run, folder, progress).run()


class _Execution:
    def __init__(self, run: Run, folder: RunFolder, progress: Progress) -> None:
        self.assembled, self.folder, self.progress = run, folder, progress
        file = run.experiment.file
        self.evaluator = Evaluator(run.detector, run.place, run.pixels, file.evaluation, file.switches, file.workers)
        self.metrics: Metrics = {}
        self.attending: frozenset[TowerName] = frozenset()
        """Towers whose stages with a context acted when the tower last trained."""

    def run(self) -> Metrics:
        started = datetime.now(UTC)
        run, folder = self.assembled, self.folder
        folder.write_experiment(resolved_toml(run.experiment))
        self._write_manifest(started, None)
        self.progress.message("scoring the test images before training, and with the two rules")
        test = run.data.sets["test"]
        self.metrics = {"before": self.evaluator.metrics(test, self.attending, trained=False), "loops": []}
        zero = run.experiment.switches.one_label_auroc == "zero"
        self.metrics["rules"] = rule_metrics(rule_images(test, run.pixels.size), undefined_as_zero=zero)
        self._record_evaluation(0, self.metrics["before"])
        cases = Cases(run.experiment.file.evaluation.heatmaps)
        self._loops(cases)
        self.metrics["quoted"] = quoted(self.metrics["loops"], run.experiment.switches.quoted_loop)
        folder.write_metrics(self.metrics)
        cases.save(folder.heatmaps, run.pixels.size)
        self._write_manifest(started, datetime.now(UTC))
        write_report(folder.path)
        return self.metrics

    def _loops(self, cases: Cases) -> None:
        scheduler, history = self.assembled.scheduler, tuple[LoopRecord, ...]()
        while (plan := scheduler.next_loop(history)) is not None:
            loop = len(history) + 1
            for number, phase in enumerate(plan.phases):
                self._train(loop, number, phase)
            self._save(loop)
            found = self._evaluate("test", cases.keep)
            self.metrics["loops"].append({"loop": loop, **found})
            self._record_evaluation(loop, found)
            self.folder.write_metrics(self.metrics)
            history = (*history, LoopRecord(plan, self._validate(loop)))

    def _train(self, loop: int, number: int, plan: PhasePlan) -> None:
        run = self.assembled
        file = run.experiment.file
        torch.manual_seed(_phase_seed(file.seed, loop, number))
        batches = TrainBatches(
            run.data.sets["train"].samples, run.pixels, file.augmentation,
            "geometry" if plan.train == "text" else "geometry_and_color",
            plan.batch_size, (file.seed, loop, number), file.workers,
        )  # fmt: skip
        self.attending = attending_in(plan, self.attending)
        self.progress.phase(loop, plan, plan.epochs * batches.steps)
        phase = Phase(run.detector, run.losses[plan.train], plan, batches, run.place, loop, self.attending)
        phase.run(self._record_step)

    def _save(self, loop: int) -> None:
        file = self.assembled.experiment.file
        suffix = ".safetensors" if file.switches.checkpoint_format == "safetensors" else ".pth"
        about = {"experiment": file.name, "loop": loop}
        save(self.assembled.detector, self.folder.checkpoint_path(loop, suffix), about)

    def _evaluate(self, role: str, keep: Callable[[str, ClassScores], None] | None = None) -> Metrics:
        return self.evaluator.metrics(self.assembled.data.sets[role], self.attending, trained=True, keep=keep)

    def _validate(self, loop: int) -> dict[str, float | None]:
        if "validation" not in self.assembled.data.sets:
            return {}
        mean: dict[str, float | None] = self._evaluate("validation")["mean"]
        self.folder.event({"event": "validation", "loop": loop, "mean": mean})
        return mean

    def _record_step(self, step: Step) -> None:
        self.folder.event({"event": "step", **asdict(step)})
        self.progress.step(step)

    def _record_evaluation(self, loop: int, found: Metrics) -> None:
        self.folder.event({"event": "evaluation", "loop": loop, **found})
        self.progress.evaluated(loop, found["mean"])

    def _write_manifest(self, started: datetime, ended: datetime | None) -> None:
        run = self.assembled
        self.folder.write_manifest(
            collect_manifest(
                plugins=used_plugins(run),
                device=str(run.place.device),
                seeds={"seed": run.experiment.file.seed},
                data={role: found.as_record() for role, found in run.data.prints.items()},
                started=started,
                finished=ended,
            )
        )


def attending_in(plan: PhasePlan, before: frozenset[TowerName]) -> frozenset[TowerName]:
    """Towers whose stages with a context act in a phase: its own by the plan, the other as it last trained."""
    return before | {plan.train} if plan.attention else before - {plan.train}


def quoted(loops: list[Metrics], rule: str) -> Metrics:
    """Which loop's result stands for the run, by the rule that the experiment fixed before it."""
    if rule == "last" or not loops:
        return {"loop": len(loops), "rule": "last"}
    best = max(loops, key=lambda found: found["mean"]["pixel_auroc"] or 0.0)
    return {"loop": best["loop"], "rule": "best_on_test"}


def used_plugins(run: Run) -> dict[str, str]:
    """Distribution and version behind each component that the run uses."""
    experiment = run.experiment
    groups = [experiment.stages, *experiment.losses.values(), experiment.data]
    chosen = [experiment.backbone, experiment.scheduler, *(item for group in groups for item in group.values())]
    return {f"{item.component.kind}:{item.component.name}": str(item.component.plugin) for item in chosen}


def _phase_seed(seed: int, loop: int, number: int) -> int:
    """A stream of its own for each phase, so that one phase's dropout does not depend on another's length."""
    return (seed * 1000 + loop * 10 + number) % 2**63
