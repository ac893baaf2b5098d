"""The one run loop. What differs between methods is the experiment file."""

import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from ..checkpoints.bank_file import reference_name, write_banks
from ..checkpoints.checkpoint import save
from ..checkpoints.find_checkpoint import load_stored
from ..checkpoints.provenance import Metadata, Provenance, short_digests
from ..contracts.data import DataSet
from ..contracts.errors import not_writable
from ..contracts.schedule import LoopPlan, LoopRecord, PhasePlan
from ..distributed.available_memory import give_back_at_once, keep_for_later
from ..distributed.collectives import broadcast
from ..distributed.out_of_memory import SIDE, explaining_out_of_memory
from ..evaluation.calibration import UNREMEMBERED, Calibrator, one_by_one, withheld
from ..evaluation.class_metrics import ClassResult, results, with_sets
from ..evaluation.evaluator import BatchCallback, Evaluator, ScoredBatch
from ..evaluation.image_scores import ImageScoreComparison
from ..evaluation.patch_distance import PatchDistance
from ..evaluation.references import References, remember
from ..evaluation.rules import patch_batches, rule_images, rule_metrics
from ..experiment import resolved_toml
from ..experiment.check import REFERENCE
from ..files.lock import locked
from ..record.manifest import collect_manifest
from ..record.run_folder import RunFolder
from ..report.examples import Examples, save_pictures
from ..report.page import write_report
from ..tracking.live import LiveTrackers
from ..tracking.place import write_trackers
from ..training.adapter_watch import AdapterWatch, adapter_names
from ..training.loop_plans import attending_after, stream_number
from ..training.phase import train_phase
from ..training.step import Step
from .assemble import Run, build_phase, open_feature_store
from .saving import Saving
from .snapshot import Snapshot
from .state import Metrics, RunState
from .stop import StopRequest


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


def execute(
    run: Run, folder: RunFolder, progress: Progress, snapshot: Snapshot | None = None, stop: StopRequest | None = None
) -> Metrics:
    """Evaluate, train loop after loop, evaluate, and write everything down. Returns what `metrics.json` holds.

    With a snapshot of an earlier process the run goes on from there. `stop` is looked at between steps and batches;
    it ends the run with `Stopped`, its state saved. Raises `UserError` where the folder cannot be written any more.
    """
    alone = locked(folder.path) if run.ranks.is_first and folder.lock is None else nullcontext(folder.lock)
    with alone as lock:
        if lock is not None and lock.absent is not None:
            progress.message(f"warning: nothing keeps other runs out of {folder.path}: no locks ({lock.absent})")
        try:
            return Execution(run, folder, progress, stop=stop).run(snapshot)
        except BrokenPipeError:  # of the terminal
            raise
        except OSError as error:
            fix = "make room or make the folder writable; what was saved before is whole"
            raise not_writable(folder.path, error, fix) from error


def rescore(run: Run, source: Path, folder: RunFolder, progress: Progress, stop: StopRequest | None = None) -> Metrics:
    """Score a run that takes each loop's weights from the checkpoints of run folder `source`, and trains nothing.

    It leaves what any run leaves but for checkpoints and steps; its manifest names `source` as `rescored_from`. The
    experiments may differ in what acts on results only. `stop` ends it with `Stopped`, and it begins again later.
    Raises `UserError` where `source` lacks a checkpoint or one does not fit.
    """
    run.model.requires_grad_(False)
    return Execution(run, folder, progress, stop=stop, stored=source).run()


class Execution:
    """One run on its way: what is measured is written at once, and the weights of each loop when it ends.

    With `stored`, a run's folder, each loop's weights come from there: nothing is trained, and no state or checkpoint
    is written. Of several ranks, all measure the same and the first alone writes.
    """

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        progress: Progress,
        *,
        stop: StopRequest | None = None,
        stored: Path | None = None,
    ) -> None:
        self.assembled, self.folder, self.progress = run, folder, progress
        self.stop, self.stored, file = stop or StopRequest(), stored, run.experiment.file
        self.evaluator = Evaluator.of(run.model, run.compute_device, run.pixels, file, run.ranks)
        watch = AdapterWatch(adapter_names(run.model), file.training.adapter_gradient_floor)
        self.state = RunState(Examples(run.data.sets["test"], file.evaluation.heatmaps), watch)
        self.references = self._remember()
        self.began: float | None = None
        self.trains = run.scheduler.next_loop(()) is not None
        self.store = open_feature_store(run)
        trackers = run.experiment.trackers if run.ranks.is_first else ()
        self.trackers = LiveTrackers(trackers, folder.path, file.plugins, progress.message)
        self.saving = Saving(run, folder, self.state, self.stop, report=self._record_step, tell=progress.message)

    def _remember(self) -> References | None:
        """Fill the banks, which stay as they are whatever is trained."""
        run = self.assembled
        if run.model.reference is None:
            return None
        self.progress.message("remembering the normal images of data.reference")
        data, workers = run.data.sets[REFERENCE], run.experiment.file.workers
        references = remember(run.model, run.compute_device, run.pixels, data, workers)
        known = run.data.fingerprints[REFERENCE].pixels
        return replace(references, pixels=tuple(sorted({known[sample.image] for sample in data.samples})))

    def run(self, snapshot: Snapshot | None = None) -> Metrics:
        """See `execute`."""
        started = datetime.now(UTC) if snapshot is None else self.folder.started
        self.began = time.process_time() if snapshot is None else None  # what an earlier process took is not known
        run, folder = self.assembled, self.folder
        broadcast(run.ranks, run.model.all_trained_parameters().values())
        if run.ranks.is_first:
            if snapshot is None:  # with one, it is that of what is there
                folder.write_experiment(resolved_toml(run.experiment))
            write_trackers(folder.path, run.experiment.trackers)
            folder.write_manifest(self._manifest(started, None))
            self.saving.identity = folder.identity
            if self.references is not None and run.model.reference is not None and self.stored is None:
                write_banks(folder.bank, self.references, run.model.reference, reference_name(run.experiment))
        if run.memory is not None and (notice := run.memory.notice):
            self.progress.message(notice)
        if run.compute_device.device.type == "cpu":
            (give_back_at_once if run.model.image.recompute else keep_for_later)()
        if snapshot is not None:
            self.saving.restore(snapshot)
        with self.trackers:
            if snapshot is None:
                self._before()
            self._loops()
            choice = reported(self.state.metrics["loops"], run.experiment.switches.reported_loop)
            if run.ranks.is_first:
                self._finish(choice, started)
        return self.state.metrics

    def _before(self) -> None:
        """Score the test images with the frozen model, which stands for a run without a loop, and with the rules."""
        self.progress.message("scoring the test images before training, and with the three rules")
        self._take_up_memory(0)
        before, data = self._test(0, kept=not self.trains), self.assembled.data
        test, sets = data.sets["test"], data.classes("test")
        rules = {name: with_sets(of_rule, sets) for name, of_rule in self._rules(test).items()}
        self.state.metrics = {"before": before, "loops": [], "rules": rules}
        self._record_evaluation(0, before)
        if not self.trains:
            self._validate(0)
            self._save_checkpoint(0)
        self._save_state()

    def _test(self, loop: int, kept: bool = True) -> Metrics:
        """Metrics of the test images after a loop, 0 being before training; maps and curves are `kept` on the way."""
        data, state = self.assembled.data, self.state
        keeper = state.examples.keeper(loop, self.evaluator.shares(data.sets["test"])) if kept else None
        classes = self._evaluate("test", loop, keeper)
        if kept:
            state.examples.merge(self.assembled.ranks)
            state.curves[loop] = {name: result.curves for name, result in classes.items()}
        return with_sets(results(classes), data.classes("test"))

    def _rules(self, data: DataSet) -> Metrics:
        run, file = self.assembled, self.assembled.experiment.file
        device, batch_size = run.compute_device.device, file.evaluation.batch_size
        rule = PatchDistance(run.model.backbone, device, run.pixels, batch_size=batch_size, workers=file.workers)
        zero = file.switches.one_label_auroc == "zero"
        images, patches = rule_images(data, run.pixels.size), patch_batches(data, rule)
        return rule_metrics(images, patches, undefined_as_zero=zero, ranks=run.ranks)

    def _finish(self, choice: Metrics, started: datetime) -> None:
        folder, state = self.folder, self.state
        loop, run = choice["loop"], self.assembled
        folder.write_curves({"loop": loop, "classes": state.curves[loop]})
        folder.write_calibration({"loop": loop, **asdict(state.calibrations[loop])})
        save_pictures(
            state.examples, loop, folder,
            model=run.model, pixels=run.pixels, real_names=run.data.real_names, attending=state.attending,
        )  # fmt: skip
        folder.write_manifest(self._manifest(started, datetime.now(UTC)))
        # A run counts as finished from here on. The report can be made again at any time.
        state.metrics["quoted"] = choice
        folder.write_metrics(state.metrics)
        write_report(folder.path)
        folder.remove_snapshots()

    def _loops(self) -> None:
        scheduler, state, history = self.assembled.scheduler, self.state, tuple[LoopRecord, ...]()
        while (plan := scheduler.next_loop(history)) is not None:
            loop = len(history) + 1
            if loop > len(state.validations):
                self._loop(loop, plan)
            history = (*history, LoopRecord(plan, state.validations[loop - 1]))

    def _loop(self, loop: int, plan: LoopPlan) -> None:
        """What is left of a loop: its phases, its evaluation, its weights."""
        state = self.state
        for number in range(len(plan.phases)):
            if number >= state.phase:
                self._train(loop, number, plan)
                state.stand(loop, number + 1, 0)
                self._save_state()
        self._take_up_memory(loop)
        validation = self._validate(loop)
        self._save_checkpoint(loop)
        metrics = self._test(loop)
        state.metrics["loops"].append({"loop": loop, **metrics})
        state.validations.append(validation)
        self._record_evaluation(loop, metrics)
        if self.assembled.ranks.is_first:
            self.folder.write_metrics(state.metrics)
        state.stand(loop + 1, 0, 0)
        self._save_state()

    def _take_up_memory(self, loop: int) -> None:
        """Score with the memory, by what the head says of the remembered images after this loop."""
        if self.references is not None:
            data, attending = self.assembled.data.sets[REFERENCE], self.state.attending
            self.evaluator = self.evaluator.remembering(self.references, data, attending, trained=loop > 0)

    def _train(self, loop: int, number: int, loop_plan: LoopPlan) -> None:
        run, plan = self.assembled, loop_plan.phases[number]
        self.state.attending = attending_after(plan, self.state.attending)
        if self.stored is not None:
            if number == 0:
                load_stored(run.model, self.stored, loop)
            return
        number = stream_number(loop_plan.phases, number)
        # For what draws without a stream of its own: no phase depends on another's length.
        seed = run.experiment.file.seed * 1000 + loop * 10 + number + (run.ranks.rank << 48)
        torch.manual_seed(seed % 2**63)
        phase = build_phase(run, plan, loop, number, self.state.attending, self.store)
        self.progress.phase(loop, plan, plan.epochs * phase.batches.steps - self.state.step)
        doing = f"in loop {loop}, {plan.train} phase, batch of {plan.batch_size}"
        saves = plan.train != "text" and not run.model.image.recompute
        recompute = 'set compute.recompute = "on", ' if saves else ""
        less = f"{recompute}lower the {plan.train} phase's batch size in [scheduler], or use a smaller {SIDE}"
        with explaining_out_of_memory(doing, less):
            train_phase(phase, self.saving)
        for line in self.store.drain() if self.store else ():
            self.progress.message(line)

    def _save_state(self) -> None:
        if self.stored is None:
            self.saving.save()

    def _save_checkpoint(self, loop: int) -> None:
        """Write the weights after a loop; 0 stands for a model that has been trained on nothing."""
        run = self.assembled
        if not run.ranks.is_first or self.stored is not None:
            return
        file, data, train = run.experiment.file, run.data, run.data.sets["train"]
        suffix = ".safetensors" if file.switches.checkpoint_format == "safetensors" else ".pth"
        attending, names = tuple(sorted(self.state.attending)), data.names("train") if loop else ()
        about = Provenance(file.name, loop, (), attending, train.domain, data.real_names, names)
        seen = (data.fingerprints["train"].images, data.fingerprints["train"].pixels)
        images, pixels = (short_digests(digests.values()) for digests in seen) if loop else ((), ())
        references = self.evaluator.references
        normal = {} if references is None else references.normal
        found, said = resolved_toml(run.experiment), self.state.calibrations[loop]
        metadata = Metadata(about, found, said, images, pixels, normal)
        save(run.model, self.folder.checkpoint_path(loop, suffix), metadata.started_from(run.start))

    def _evaluate(self, role: str, loop: int, on_batch: BatchCallback | None = None) -> dict[str, ClassResult]:
        def noted(name: str, batch: ScoredBatch) -> None:
            self._between_batches(name, batch)
            if on_batch:
                on_batch(name, batch)

        data, attending = self.assembled.data.sets[role], self.state.attending
        return self.evaluator.evaluate(data, attending, trained=loop > 0, on_batch=noted)

    def _between_batches(self, name: str, batch: ScoredBatch) -> None:
        # Of several ranks, none may leave the others waiting: they end together at the next step.
        if not self.assembled.ranks.is_distributed:
            self.stop.raise_if_asked()

    def _validate(self, loop: int) -> dict[str, float | None]:
        """Mean metrics of the validation images; and thresholds, from the same scores where they serve for both."""
        run, mean = self.assembled, dict[str, float | None]()
        source, calibrator = run.calibration, Calibrator(run.experiment.file.calibration)
        evaluator, validation = one_by_one(self.evaluator), run.data.sets.get("validation")
        both = source.data is validation and evaluator is self.evaluator
        if validation is not None:
            compared = ImageScoreComparison(run.model.head)

            def on_batch(name: str, batch: ScoredBatch) -> None:
                compared.on_batch(name, batch)
                if both:
                    calibrator.on_batch(name, batch)

            mean = results(self._evaluate("validation", loop, on_batch))["mean"]
            scores = compared.result(run.ranks)
            self.state.metrics["image_scores"] = {"used": run.experiment.file.evaluation.image_score, **scores}
            self._event({"event": "validation", "loop": loop, "mean": mean, "image_scores": scores})
        if not both:
            calibrator.collect(evaluator, source.data, self.state.attending, trained=loop > 0)
        calibrator.merge(run.ranks)
        found = calibrator.result(source.source, source.data.classes)
        self.state.calibrations[loop] = found if self._scores_alike(source.data) else withheld(found, UNREMEMBERED)
        return mean

    def _scores_alike(self, data: DataSet) -> bool:
        """Whether images are scored as test images are: with a memory, where those have one."""
        references = self.evaluator.references
        return references is None or set(data.classes) <= references.banks.keys()

    def _record_step(self, step: Step) -> None:
        self._event(step.as_event())
        self.progress.step(step)
        if warning := self.state.watch.check(step):
            self._event(warning)
            self.progress.message(warning["message"])

    def _record_evaluation(self, loop: int, metrics: Metrics) -> None:
        if scales := self.assembled.model.slots.learnt_scales():
            self._event({"event": "scales", "loop": loop, "scales": scales})
        self._event({"event": "evaluation", "loop": loop, **metrics})
        self.progress.evaluated(loop, metrics["mean"])

    def _event(self, event: Metrics) -> None:
        if self.assembled.ranks.is_first:
            self.folder.event(event)
            self.trackers.look()

    def _manifest(self, started: datetime, ended: datetime | None) -> dict[str, Any]:
        run = self.assembled
        manifest = collect_manifest(
            plugins=run.experiment.plugins,
            device=str(run.compute_device.device),
            seeds={"seed": run.experiment.file.seed},
            data=run.data.records,
            started=started,
            finished=ended,
            processor_seconds=self._processor_seconds() if ended else None,
            memory=run.memory.record() if run.memory else None,
        )
        rescored = {} if self.stored is None else {"rescored_from": str(self.stored)}
        return {**manifest, "processes": run.ranks.size, **rescored}

    def _processor_seconds(self) -> float | None:
        return None if self.began is None else round(time.process_time() - self.began, 3)


def reported(loops: list[Metrics], rule: str) -> Metrics:
    """Return which loop's result stands for the run, by the rule that the experiment fixed before it.

    The best loop is that of the largest pixel AUROC, or image AUROC where that is undefined (no masks). With neither,
    the last loop is reported, and the record says so. Without a loop it is 0, the model before training.
    """
    if rule == "best_on_test":
        for metric in ("pixel_auroc", "image_auroc"):
            defined = [loop for loop in loops if loop["mean"][metric] is not None]
            if defined:
                return {"loop": max(defined, key=lambda loop: loop["mean"][metric])["loop"], "rule": rule}
    return {"loop": len(loops), "rule": "last"}
