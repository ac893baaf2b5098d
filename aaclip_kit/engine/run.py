"""The one run loop. What differs between methods is the experiment file."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Protocol, runtime_checkable

import torch

from ..cases.choice import Cases
from ..cases.pictures import rule_images, save_pictures
from ..contracts.options import TowerName
from ..contracts.schedule import LoopRecord, PhasePlan
from ..data.batches import TrainBatches
from ..evaluation.evaluate import Evaluator, Keep
from ..evaluation.metrics import ClassResult, results
from ..evaluation.rules import rule_metrics
from ..experiment import resolved_toml
from ..record.folder import RunFolder
from ..record.manifest import collect_manifest
from ..record.report import write_report
from ..trained.calibration import Calibration, Calibrator, one_by_one
from ..trained.checkpoint import save
from ..trained.metadata import About, Metadata, short_digests
from .assemble import Run
from .gradients import AdapterWatch, adapter_names
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
    return Execution(run, folder, progress).run()


class Execution:
    """One run on its way: what is found is written at once, and the weights of each loop when it ends."""

    def __init__(self, run: Run, folder: RunFolder, progress: Progress) -> None:
        self.assembled, self.folder, self.progress = run, folder, progress
        file = run.experiment.file
        self.evaluator = Evaluator(run.detector, run.place, run.pixels, file.evaluation, file.switches, file.workers)
        self.watch = AdapterWatch(adapter_names(run.detector), file.training.adapter_gradient_floor)
        self.metrics: Metrics = {}
        self.curves: dict[int, dict[str, Any]] = {}
        self.calibrations: dict[int, Calibration] = {}
        self.attending: frozenset[TowerName] = frozenset()
        """Towers whose stages with a context acted when the tower last trained."""

    def run(self) -> Metrics:
        """See `execute`."""
        started = datetime.now(UTC)
        run, folder = self.assembled, self.folder
        folder.write_experiment(resolved_toml(run.experiment))
        folder.write_manifest(self._manifest(started, None))
        self.progress.message("scoring the test images before training, and with the two rules")
        test = run.data.sets["test"]
        self.metrics = {"before": results(self.evaluator.evaluate(test, self.attending, trained=False)), "loops": []}
        zero = run.experiment.switches.one_label_auroc == "zero"
        self.metrics["rules"] = rule_metrics(rule_images(test, run.pixels.size), undefined_as_zero=zero)
        self._record_evaluation(0, self.metrics["before"])
        cases = Cases(test, run.experiment.file.evaluation.heatmaps)
        self._loops(cases)
        choice = quoted(self.metrics["loops"], run.experiment.switches.quoted_loop)
        if loop := choice["loop"]:
            folder.write_curves({"loop": loop, "classes": self.curves[loop]})
            folder.write_calibration({"loop": loop, **asdict(self.calibrations[loop])})
        save_pictures(run, cases, loop, self.attending, folder)
        folder.write_manifest(self._manifest(started, datetime.now(UTC)))
        # A run counts as finished from here on. The report can be made again at any time.
        self.metrics["quoted"] = choice
        folder.write_metrics(self.metrics)
        write_report(folder.path)
        return self.metrics

    def _loops(self, cases: Cases) -> None:
        scheduler, history = self.assembled.scheduler, tuple[LoopRecord, ...]()
        while (plan := scheduler.next_loop(history)) is not None:
            loop = len(history) + 1
            for number, phase in enumerate(plan.phases):
                self._train(loop, number, phase)
            validation = self._validate(loop)
            self._save(loop)
            classes = self._evaluate("test", cases.keeper(loop))
            found = results(classes)
            self.curves[loop] = {name: result.curves for name, result in classes.items()}
            self.metrics["loops"].append({"loop": loop, **found})
            self._record_evaluation(loop, found)
            self.folder.write_metrics(self.metrics)
            history = (*history, LoopRecord(plan, validation))

    def _train(self, loop: int, number: int, plan: PhasePlan) -> None:
        run = self.assembled
        torch.manual_seed(_phase_seed(run.experiment.file.seed, loop, number))
        self.attending = attending_in(plan, self.attending)
        phase = build_phase(run, plan, loop, number, self.attending)
        self.progress.phase(loop, plan, plan.epochs * phase.batches.steps)
        phase.run(self._record_step)

    def _save(self, loop: int) -> None:
        run = self.assembled
        file, data, train = run.experiment.file, run.data, run.data.sets["train"]
        suffix = ".safetensors" if file.switches.checkpoint_format == "safetensors" else ".pth"
        attending, names = tuple(sorted(self.attending)), (train.name,) if train.name else ()
        about = About(file.name, loop, (), attending, train.domain, data.real_names, names)
        images = short_digests(data.prints["train"].contents)
        metadata = Metadata(about, resolved_toml(run.experiment), self.calibrations[loop], images)
        save(run.detector, self.folder.checkpoint_path(loop, suffix), metadata.started_from(run.start))

    def _evaluate(self, role: str, keep: Keep | None = None) -> dict[str, ClassResult]:
        return self.evaluator.evaluate(self.assembled.data.sets[role], self.attending, trained=True, keep=keep)

    def _validate(self, loop: int) -> dict[str, float | None]:
        """Mean metrics of the validation images; and thresholds, from the same scores where they serve for both."""
        run, mean = self.assembled, dict[str, float | None]()
        source, calibrator = run.calibration, Calibrator(run.experiment.file.calibration)
        evaluator, validation = one_by_one(self.evaluator), run.data.sets.get("validation")
        both = source.data is validation and evaluator is self.evaluator
        if validation is not None:
            mean = results(self._evaluate("validation", calibrator.keep if both else None))["mean"]
            self.folder.event({"event": "validation", "loop": loop, "mean": mean})
        if not both:
            calibrator.collect(evaluator, source.data, self.attending)
        self.calibrations[loop] = calibrator.result(source.source)
        return mean

    def _record_step(self, step: Step) -> None:
        self.folder.event({"event": "step", **asdict(step)})
        self.progress.step(step)
        if warning := self.watch.check(step):
            self.folder.event(warning)
            self.progress.message(warning["message"])

    def _record_evaluation(self, loop: int, found: Metrics) -> None:
        self.folder.event({"event": "evaluation", "loop": loop, **found})
        self.progress.evaluated(loop, found["mean"])

    def _manifest(self, started: datetime, ended: datetime | None) -> dict[str, Any]:
        run = self.assembled
        return collect_manifest(
            plugins=run.experiment.plugins,
            device=str(run.place.device),
            seeds={"seed": run.experiment.file.seed},
            data=run.data.records,
            started=started,
            finished=ended,
        )


def build_phase(run: Run, plan: PhasePlan, loop: int, number: int, attending: frozenset[TowerName]) -> Phase:
    """Phase `number` (from 0) of a loop on the training images; towers `attending` use their stages with a context."""
    file = run.experiment.file
    batches = TrainBatches(
        run.data.sets["train"].samples, run.pixels, file.augmentation,
        "geometry" if plan.train == "text" else "geometry_and_color",
        plan.batch_size, (file.seed, loop, number), file.workers,
    )  # fmt: skip
    return Phase(run.detector, run.losses[plan.train], plan, batches, run.place, loop, attending)


def attending_in(plan: PhasePlan, before: frozenset[TowerName]) -> frozenset[TowerName]:
    """Towers whose stages with a context act in a phase: its own by the plan, the other as it last trained."""
    return before | {plan.train} if plan.attention else before - {plan.train}


def quoted(loops: list[Metrics], rule: str) -> Metrics:
    """Which loop's result stands for the run, by the rule that the experiment fixed before it.

    The best loop is that of the largest pixel AUROC, or image AUROC where that is undefined (no masks). With neither,
    the last loop is quoted, and the record says so.
    """
    if rule == "best_on_test":
        for metric in ("pixel_auroc", "image_auroc"):
            defined = [found for found in loops if found["mean"][metric] is not None]
            if defined:
                return {"loop": max(defined, key=lambda found: found["mean"][metric])["loop"], "rule": rule}
    return {"loop": len(loops), "rule": "last"}


def _phase_seed(seed: int, loop: int, number: int) -> int:
    """A stream of its own for each phase, so that one phase's dropout does not depend on another's length."""
    return (seed * 1000 + loop * 10 + number) % 2**63
