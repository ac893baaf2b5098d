"""One phase of training: batches in, losses, steps of the optimizer. `train_phase` is the loop."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..contracts.head import ImageFeatures
from ..contracts.options import TowerName
from ..contracts.schedule import PhasePlan, towers_of
from ..data.loader import Batch, TrainBatches, View
from ..distributed.collectives import BatchShard
from ..distributed.compute_device import ComputeDevice
from ..distributed.random_streams import random_state, step_draws
from ..model.anomaly_model import AnomalyModel
from ..model.image_tower import FIXED_BATCH, Untouched
from ..model.plugin_faults import PluginFault, naming_batch
from .feature_cache import CachedFeatures
from .gradient_norms import trained_groups
from .losses import WeightedLosses, total
from .optimizer import OptimizerStepper, StepStats
from .step import PendingStep, Step, StepCallback


@dataclass(frozen=True, kw_only=True)
class FixedInputs:
    """What a phase sees of a batch that its training does not change; None for what it trains, or does not use."""

    untouched: Untouched
    image: ImageFeatures | None = None
    """Features of images, for a phase that trains text alone."""
    image_context: Float[Tensor, "contexts N E"] | None = None
    """What text stages attend to."""
    text: Float[Tensor, "B E 2"] | None = None
    """Text features, for a phase that trains vision alone."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of one loop, over one tower: what it sees of each batch, its loss terms, and whose faults are."""

    model: AnomalyModel
    losses: WeightedLosses
    plan: PhasePlan
    batches: TrainBatches
    compute_device: ComputeDevice
    loop: int
    attending: Set[TowerName]
    """Towers whose stages with a context act."""
    cached: CachedFeatures | None = None
    """Frozen features that need not be computed again."""
    _text: dict[str, Tensor] = field(default_factory=dict, init=False)

    @contextmanager
    def at(self, batch: Batch, step: int) -> Iterator[None]:
        """Within this, draws are those of the step, and a plugin's fault is told with loop, phase, step and images."""
        doing = f"loop {self.loop}, {self.plan.train} phase, step {step}"
        stream = (*self.batches.key, self.batches.ranks.rank, step)
        with naming_batch(doing, batch.samples), step_draws(*stream, device=self.compute_device.device):
            yield

    @property
    def holds(self) -> Callable[[Sample, View], bool] | None:
        """Tells of a view whether its image need not be decoded; None where every image must be."""
        model, plan = self.model, self.plan
        untrained = plan.train == "text" and plan.features == "frozen"
        reads = model.untrained_reads if untrained else model.head.reads
        fixed = untrained or (model.vision_is_fixed and model.switches.trained_context == "as_trained")
        return partial(self.cached.holds, reads) if self.cached is not None and fixed else None

    @contextmanager
    def open(self) -> Iterator[dict[str, nn.Parameter]]:
        """Yield the tower's parameters, taking gradients, with dropout by the switch; other methods work in here."""
        with self.model.training_tower(self.plan.train) as parameters:
            self._text.clear()
            text = self.model.text
            if self.plan.train == "vision" and text is not None and not text.goes_by_image:
                # The text side does not change: one feature a class.
                classes = tuple(dict.fromkeys(sample.class_name for sample in self.batches.samples))
                with torch.no_grad(), self.compute_device.autocast():
                    self._text.update(zip(classes, text.class_features(classes), strict=True))
            yield parameters

    def fixed_inputs(self, batch: Batch) -> FixedInputs:
        """Compute what the phase sees of this batch and does not train; no gradient flows into it."""
        untouched = self._untouched(batch) if self.cached is None else self.cached.of(batch)
        with self.compute_device.autocast():
            if self.plan.train == "vision":
                return FixedInputs(untouched=untouched, text=self._fixed_text(batch, untouched))
            image, context = self._text_inputs(batch, untouched)
        if context is not None and self.model.switches.image_context == "batch_mean":
            context = self.shard(batch).gathered(context)
        return FixedInputs(untouched=untouched, image=image, image_context=context)

    def _untouched(self, batch: Batch) -> Untouched:
        return Untouched(self.model.image, batch.images, fixed=min(FIXED_BATCH, self.plan.batch_size))

    def _fixed_text(self, batch: Batch, untouched: Untouched) -> Tensor | None:
        if self._text:
            return torch.stack([self._text[name] for name in batch.classes])
        if self.model.text is None:
            return None
        with torch.no_grad():
            return self.model.text_features(batch.classes, None, embedding=untouched.embedding())

    def _text_inputs(self, batch: Batch, untouched: Untouched) -> tuple[ImageFeatures | None, Tensor | None]:
        """Features of images where text alone is trained, and the image context of text stages."""
        model, trained = self.model, self.plan.features == "trained"
        if self.plan.train == "both" and not model.conditions_text(self.attending):
            return None, None
        image, context = model.text_phase_inputs(batch.images, batch.classes, trained, self.attending, untouched)
        if model.switches.text_loss_levels == "last":
            image = replace(image, levels={max(image.levels): image.levels[max(image.levels)]})
        return (image if self.plan.train == "text" else None), context

    def terms(self, batch: Batch, fixed: FixedInputs) -> dict[str, Tensor]:
        """Compute the weighted loss terms of a batch, and those of stages themselves; their sum is the objective."""
        shard = self.shard(batch)
        with self.compute_device.autocast():
            terms = self.losses(self._named(batch, fixed), shard)
            own = self.model.slots.loss_terms(towers_of(self.plan.train), self.attending)
        return terms | {name: shard.weight * term for name, term in own.items()}

    def shard(self, batch: Batch) -> BatchShard:
        """Return this rank's part of the batch."""
        return BatchShard(self.batches.ranks, batch.whole)

    def fault(self, stats: StepStats, batch: Batch) -> UserError | None:
        """Return the fault of a loss or gradients that are not finite; loss scaling skips the latter by itself."""
        if not math.isfinite(stats.loss):
            return self._not_finite(batch, stats.terms)
        if not stats.bad_norms or self.compute_device.precision == "fp16":
            return None
        owners = {name: self.model.slots.owner(name) for name in stats.bad_norms}
        owned = ", ".join(f"{name} (of {owner})" if owner else name for name, owner in owners.items())
        fix = "lower the rate in [scheduler], or look at the stages that stand first among these"
        return PluginFault(f"gradients are not finite: {owned}", where="training", fix=fix)

    def _not_finite(self, batch: Batch, terms: dict[str, float]) -> UserError:
        """The fault behind a loss that is not finite: of the stage that makes it so, where it is one's."""
        try:
            with torch.random.fork_rng(), torch.no_grad(), self.model.slots.looking_at_numbers():
                self.terms(batch, self.fixed_inputs(batch))
        except PluginFault as fault:
            return fault
        bad = [name for name, value in terms.items() if not math.isfinite(value)] or ["the sum of all terms"]
        problem = f"the loss is not finite: {', '.join(bad)}"
        fix = "lower the rate in [scheduler], or use precision = 'fp32'"
        return PluginFault(problem, where="training", fix=fix)

    def _named(self, batch: Batch, fixed: FixedInputs) -> dict[str, Tensor | dict[int, Tensor]]:
        """Predictions and targets by the names that losses ask for, and no others."""
        named: dict[str, Tensor | dict[int, Tensor]] = {"masks": batch.masks, "labels": batch.labels}
        head, needs, size = self.model.head, self.losses.needs, batch.masks.shape[-1]
        # The text last: making the image's context walks its stages too, and their loss terms are of the last pass.
        image, text = self._live_image(batch, fixed), self._live_text(batch, fixed)
        if text is not None:
            named["text_features"] = text
        if "detection_logits" in needs:
            named["detection_logits"] = head.detection_logits(image, text)
        if "level_probabilities" in needs:
            maps = head.level_probabilities(image, text, size)
            named["level_probabilities"] = maps if batch.ignored is None else _agreeing(maps, batch.ignored)
        return named

    def _live_text(self, batch: Batch, fixed: FixedInputs) -> Tensor | None:
        text = self.model.text
        if self.plan.train == "vision" or text is None:
            return fixed.text
        embedding = fixed.untouched.embedding() if text.goes_by_image else None
        return self.model.text_features(batch.classes, fixed.image_context, embedding=embedding)

    def _live_image(self, batch: Batch, fixed: FixedInputs) -> ImageFeatures:
        if fixed.image is not None:
            return fixed.image
        attention, untouched = "vision" in self.attending, fixed.untouched
        return self.model.image_features(batch.images, batch.classes, attention, untouched=untouched)


def _agreeing(maps: dict[int, Tensor], ignored: Tensor) -> dict[int, Tensor]:
    """Maps that are as sure as a softmax can be of "normal", as their targets are, where pixels are left out.

    No gradient comes from there, whatever a loss makes of it.
    """
    sure = next(iter(maps.values())).new_tensor([1 - _UNSURE, _UNSURE])[:, None, None]
    return {level: torch.where(ignored, sure, one) for level, one in maps.items()}


_UNSURE: Final = 1e-5
"""Kept between a probability and 0, where a loss may take its logarithm."""


def train_phase(phase: Phase, callback: StepCallback | None = None) -> None:
    """Train for the plan's epochs: a batch, its loss and gradients, a step of the optimizer, and the callback after it.

    Raises `UserError` for a loss or gradients that are not finite, unless the callback skips the step; the weights are
    then those before it.
    """
    callback, device, batches = callback or StepCallback(), phase.compute_device, phase.batches
    with phase.open():
        groups = trained_groups(phase.model, phase.plan.train, phase.attending)
        stepper = OptimizerStepper(
            phase.plan, groups, device,
            steps_per_epoch=batches.steps, ranks=batches.ranks, skips=callback.may_skip,
        )  # fmt: skip
        callback.begin(stepper)
        step = callback.first_step
        first_epoch, skipped = divmod(step, batches.steps)
        waiting: deque[PendingStep] = deque()
        for epoch in range(first_epoch + 1, phase.plan.epochs + 1):
            for batch in batches.epoch(epoch, phase.holds, skipped if epoch == first_epoch + 1 else 0):
                step += 1
                waiting.append(_take_step(phase, stepper, callback, batch.to(device.device), (epoch, step)))
                paused = callback.pause_wanted()
                while len(waiting) > (device.runs_ahead and not paused):
                    callback.report(_reported(phase, stepper, callback, waiting.popleft()))
                if paused:
                    callback.pause(stepper, step)
        while waiting:
            callback.report(_reported(phase, stepper, callback, waiting.popleft()))


def _take_step(
    phase: Phase, stepper: OptimizerStepper, callback: StepCallback, batch: Batch, at: tuple[int, int]
) -> PendingStep:
    """Take one step; where the device is not waited for, its numbers are looked at later."""
    (epoch, step), random = at, random_state(phase.compute_device.device)
    with phase.at(batch, step):
        terms = phase.terms(batch, phase.fixed_inputs(batch))
        stats = stepper.gradients(total(terms), phase.losses.addends(terms, phase.shard(batch)))
        pending = PendingStep(batch, epoch, step, stepper.learning_rate, stepper.schedule.last_epoch, stats, random)
        if phase.compute_device.runs_ahead or _is_sound(phase, stepper, callback, pending):
            stepper.take(stats)
        else:
            stepper.leave_out()
    return pending


def _is_sound(phase: Phase, stepper: OptimizerStepper, callback: StepCallback, pending: PendingStep) -> bool:
    """Return whether a step's numbers are finite. Raises the fault where they are not, unless it is to be left out."""
    fault = phase.fault(pending.stats.read(), pending.batch)
    if fault is None:
        return True
    if not callback.skips(pending, fault):
        callback.keep_fault(stepper, pending, fault)
        raise fault
    return False


def _reported(phase: Phase, stepper: OptimizerStepper, callback: StepCallback, pending: PendingStep) -> Step:
    """Return what a step reports, once its numbers are known."""
    if phase.compute_device.runs_ahead:
        with phase.at(pending.batch, pending.step):
            _is_sound(phase, stepper, callback, pending)
    stats = pending.stats.read()
    return Step(
        phase.loop, phase.plan.train, pending.epoch, pending.step,
        stats.loss, stats.terms, pending.learning_rate, stats.norms,
    )  # fmt: skip
