"""One phase of training: batches in, losses, steps of the optimiser."""

import math
from collections import deque
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contracts.data import Sample
from ..contracts.errors import UserError
from ..contracts.options import TowerName
from ..contracts.schedule import PhasePlan
from ..data.loader import Batch, TrainBatches, View
from ..distributed.collectives import BatchShard
from ..distributed.compute_device import ComputeDevice, random_state
from ..model.anomaly_map import probability_map
from ..model.anomaly_model import AnomalyModel
from ..model.image_tower import Levels
from ..model.plugin_faults import PluginFault, naming_batch
from .feature_cache import KeptFeatures
from .gradient_norms import trained_groups
from .losses import WeightedLosses, total
from .optimizer import Descent, Values
from .step import Pauses, Step, Taken

FixedInputs = tuple[Levels, Float[Tensor, "B N E"] | None] | Float[Tensor, "B E 2"]
"""What a phase sees of the side that it does not train: patch features with image context, or text features."""


class Phase:
    """One phase of one loop, over one tower. `attending` names the towers whose stages with a context act.

    With `kept`, frozen features that it holds are not computed again.
    """

    def __init__(
        self,
        model: AnomalyModel,
        losses: WeightedLosses,
        plan: PhasePlan,
        batches: TrainBatches,
        compute_device: ComputeDevice,
        loop: int,
        attending: Set[TowerName],
        kept: KeptFeatures | None = None,
    ) -> None:
        self.model, self.losses, self.plan, self.batches = model, losses, plan, batches
        self.compute_device, self.loop, self.attending, self.kept = compute_device, loop, attending, kept
        self._text: dict[str, Tensor] = {}

    def run(self, report: Callable[[Step], None], pauses: Pauses | None = None) -> None:
        """Train for the plan's epochs, reporting each step; a place that runs ahead is one step further by then."""
        with self.open():
            groups = trained_groups(self.model, self.plan.train, self.attending)
            skips = pauses is not None and pauses.may_skip
            descent = Descent(self.plan, groups, self.compute_device, self.batches.steps, self.batches.ranks, skips)
            waiting: deque[Taken] = deque()
            for taken in self._steps(descent, pauses):
                waiting.append(taken)
                paused = pauses is not None and pauses.wanted()
                while len(waiting) > (self.compute_device.runs_ahead and not paused):
                    report(self._settled(waiting.popleft(), descent, pauses))
                if pauses is not None and paused:
                    pauses.pause(descent, taken.step)
            while waiting:
                report(self._settled(waiting.popleft(), descent, pauses))

    def _steps(self, descent: Descent, pauses: Pauses | None) -> Iterator[Taken]:
        step = 0 if pauses is None else pauses.done
        if pauses is not None:
            pauses.begin(descent)
        first, skip = divmod(step, self.batches.steps)
        for epoch in range(first + 1, self.plan.epochs + 1):
            for batch in self.batches.epoch(epoch, self._held, skip if epoch == first + 1 else 0):
                batch, step = batch.to(self.compute_device.device), step + 1
                random = random_state(self.compute_device.device)
                with self._naming(batch, step):
                    terms = self.terms(batch, self.seen(batch))
                    numbers = descent.gradients(total(terms), self.losses.addends(terms, self._shard(batch)))
                    taken = Taken(batch, epoch, step, descent.rate, descent.rates.last_epoch, numbers, random)
                    if self.compute_device.runs_ahead or self._sound(taken, descent, pauses):
                        descent.take(numbers)
                    else:
                        descent.leave_out()
                yield taken

    def _sound(self, taken: Taken, descent: Descent, pauses: Pauses | None) -> bool:
        """Whether a step's numbers are finite. Raises the fault where they are not, unless it is to be left out."""
        fault = self._fault(taken.numbers.read(), taken.batch)
        if fault is None:
            return True
        if pauses is None or not pauses.skips(taken, fault):
            if pauses is not None:
                pauses.keep_fault(descent, taken, fault)
            raise fault
        return False

    def _settled(self, taken: Taken, descent: Descent, pauses: Pauses | None) -> Step:
        if self.compute_device.runs_ahead:
            with self._naming(taken.batch, taken.step):
                self._sound(taken, descent, pauses)
        values, epoch, step, train = taken.numbers.read(), taken.epoch, taken.step, self.plan.train
        return Step(self.loop, train, epoch, step, values.loss, values.terms, taken.rate, values.norms)

    def _naming(self, batch: Batch, step: int) -> AbstractContextManager[None]:
        return naming_batch(f"loop {self.loop}, {self.plan.train} phase, step {step}", batch.samples)

    @property
    def _held(self) -> Callable[[Sample, View], bool] | None:
        frozen = self.plan.train == "text" and self.plan.features == "frozen"
        return self.kept.holds_patches if self.kept is not None and frozen else None

    @contextmanager
    def open(self) -> Iterator[dict[str, nn.Parameter]]:
        """The tower's parameters, taking gradients, with dropout by the switch; `seen` and `terms` work in here."""
        with self.model.training_tower(self.plan.train) as parameters:
            self._text = self._fixed_text() if self.plan.train == "vision" else {}
            yield parameters

    def seen(self, batch: Batch) -> FixedInputs:
        """What the phase sees of the other side in this batch; no gradient flows into it."""
        if self.plan.train == "vision":
            return torch.stack([self._text[name] for name in batch.classes])
        model, trained = self.model, self.plan.features == "trained"
        frozen = None if self.kept is None else self.kept.of(batch)
        with self.compute_device.autocast():
            levels, context = model.text_phase_inputs(batch.images, batch.classes, trained, self.attending, frozen)
        if model.switches.text_loss_levels == "last":
            levels = {max(levels): levels[max(levels)]}
        if context is not None and model.switches.image_context == "batch_mean":
            context = self._shard(batch).gathered(context)
        return levels, context

    def terms(self, batch: Batch, seen: FixedInputs) -> dict[str, Tensor]:
        """Weighted loss terms of a batch; their sum is the objective."""
        with self.compute_device.autocast():
            return self.losses(self._named(batch, seen), self._shard(batch))

    def _shard(self, batch: Batch) -> BatchShard:
        return BatchShard(self.batches.ranks, batch.whole)

    def _fault(self, values: Values, batch: Batch) -> UserError | None:
        """What is wrong with a loss or gradients that are not finite; loss scaling skips the latter by itself."""
        if not math.isfinite(values.loss):
            return self._not_finite(batch, values.terms)
        if not values.bad_norms or self.compute_device.precision == "fp16":
            return None
        owned = ", ".join(f"{name} {self._owned(name)}".strip() for name in values.bad_norms)
        fix = "lower the rate in [scheduler], or look at the stages that stand first among these"
        return PluginFault(f"gradients are not finite: {owned}", where="training", fix=fix)

    def _owned(self, name: str) -> str:
        owner = self.model.slots.owner(name)
        return f"(of {owner})" if owner else ""

    def _not_finite(self, batch: Batch, terms: dict[str, float]) -> UserError:
        """The fault behind a loss that is not finite: of the stage that makes it so, where it is one's."""
        try:
            with torch.random.fork_rng(), torch.no_grad(), self.model.slots.looking_at_numbers():
                self.terms(batch, self.seen(batch))
        except PluginFault as fault:
            return fault
        bad = [name for name, value in terms.items() if not math.isfinite(value)] or ["the sum of all terms"]
        problem = f"the loss is not finite: {', '.join(bad)}"
        fix = "lower the rate in [scheduler], or use precision = 'fp32'"
        return PluginFault(problem, where="training", fix=fix)

    def _fixed_text(self) -> dict[str, Tensor]:
        """The text side does not change in a vision phase: one feature a class."""
        classes = tuple(dict.fromkeys(sample.class_name for sample in self.batches.samples))
        with torch.no_grad(), self.compute_device.autocast():
            return dict(zip(classes, self.model.text.class_features(classes), strict=True))

    def _named(self, batch: Batch, seen: FixedInputs) -> dict[str, Tensor | dict[int, Tensor]]:
        """Predictions and targets by the names that losses ask for, and no others."""
        named: dict[str, Tensor | dict[int, Tensor]] = {"masks": batch.masks, "labels": batch.labels}
        if isinstance(seen, tuple):
            levels, features = seen[0], self.model.text_features(batch.classes, seen[1])
        else:
            features = seen
            found = self.model.image_features(batch.images, batch.classes, "vision" in self.attending)
            levels = found.levels
            named["detection_logits"] = (found.detection.float()[..., None] * features.float()).sum(dim=1)
        named["text_features"] = features
        if "level_probabilities" in self.losses.needs:
            size = batch.masks.shape[-1]
            named["level_probabilities"] = {n: probability_map(p, features, size) for n, p in levels.items()}
        return named
