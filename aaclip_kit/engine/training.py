"""One phase of training: batches in, losses, steps of the optimiser."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..contracts.errors import UserError
from ..contracts.loss import Loss, LossInput
from ..contracts.options import TowerName
from ..contracts.schedule import PhasePlan
from ..data.batches import Batch, TrainBatches
from .boundary import PluginFault, component_of, naming_batch, run_loss
from .detector import Detector
from .device import Place
from .gradients import gradient_norms, trained_groups
from .image import Levels
from .maps import probability_map
from .optimizer import build_optimizer, build_rate


@dataclass(frozen=True)
class Step:
    """What one training step reports."""

    loop: int
    phase: str
    epoch: int
    step: int
    loss: float
    terms: dict[str, float]
    rate: float
    gradient_norms: dict[str, float]
    """Norm of each trained group's gradient, before clipping: the file's stage names, and the tower's heads."""


Seen = tuple[Levels, Float[Tensor, "B N E"] | None] | Float[Tensor, "B E 2"]
"""What a phase sees of the side that it does not train: patch features with image context, or text features."""


@dataclass
class WeightedLosses:
    """The losses of one phase by the experiment file's names, with their weights."""

    losses: dict[str, tuple[Loss, float]] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """The plugin that each loss is of."""

    @property
    def needs(self) -> set[str]:
        """Names of everything that any of them asks for."""
        return {name for loss, _ in self.losses.values() for name in loss.needs}

    def __call__(self, named: dict[str, Tensor | dict[int, Tensor]]) -> dict[str, Tensor]:
        """Weighted terms, named LOSS/TERM."""
        terms = {}
        for name, (loss, weight) in self.losses.items():
            where = f"loss {name} {component_of(loss, self.owners.get(name, ''))}"
            found = run_loss(loss, {key: named[key] for key in loss.needs}, where)
            terms.update({f"{name}/{term}": weight * value for term, value in found.items()})
        return terms


MADE: dict[TowerName, frozenset[LossInput]] = {
    "text": frozenset({"level_probabilities", "text_features", "masks", "labels"}),
    "vision": frozenset({"level_probabilities", "detection_logits", "text_features", "masks", "labels"}),
}
"""What losses can ask for in each phase."""

TRAINED: dict[TowerName, frozenset[LossInput]] = {
    "text": frozenset({"level_probabilities", "text_features"}),
    "vision": frozenset({"level_probabilities", "detection_logits"}),
}
"""The part of it that depends on what the phase trains."""


class Phase:
    """One phase of one loop, over one tower. `attending` names the towers whose stages with a context act."""

    def __init__(
        self,
        detector: Detector,
        losses: WeightedLosses,
        plan: PhasePlan,
        batches: TrainBatches,
        place: Place,
        loop: int,
        attending: Set[TowerName],
    ) -> None:
        self.detector, self.losses, self.plan, self.batches = detector, losses, plan, batches
        self.place, self.loop, self.attending = place, loop, attending
        self._text: dict[str, Tensor] = {}

    def run(self, report: Callable[[Step], None]) -> None:
        """Train for the plan's epochs, reporting each step."""
        plan = self.plan
        with self.open() as parameters:
            groups = trained_groups(self.detector, plan.train, self.attending)
            optimizer = build_optimizer(plan.optimizer, parameters.values())
            rate = build_rate(plan.rate, optimizer, plan.epochs, self.batches.steps)
            scaler = self.place.gradient_scaler()
            step = 0
            for epoch in range(1, plan.epochs + 1):
                for batch in self.batches.epoch(epoch):
                    batch, step = batch.to(self.place.device), step + 1
                    doing = f"loop {self.loop}, {plan.train} phase, step {step}"
                    with naming_batch(doing, batch.samples):
                        terms = self.terms(batch, self.seen(batch))
                        loss = total(terms)
                        value, values = fetched(loss, terms)
                        if not math.isfinite(value):
                            raise self._not_finite(batch, values)
                        now = optimizer.param_groups[0]["lr"]
                        stepped, norms = self._descend(loss, optimizer, scaler, groups)
                    if stepped:
                        rate.step()
                    report(Step(self.loop, plan.train, epoch, step, value, values, now, norms))

    @contextmanager
    def open(self) -> Iterator[dict[str, nn.Parameter]]:
        """The tower's parameters, taking gradients, with dropout by the switch; `seen` and `terms` work in here."""
        with self.detector.training_tower(self.plan.train) as parameters:
            self._text = self._fixed_text() if self.plan.train == "vision" else {}
            yield parameters

    def seen(self, batch: Batch) -> Seen:
        """What the phase sees of the other side in this batch; no gradient flows into it."""
        if self.plan.train == "vision":
            return torch.stack([self._text[name] for name in batch.classes])
        detector, trained = self.detector, self.plan.features == "trained"
        with self.place.autocast():
            levels, context = detector.seen_by_text(batch.images, batch.classes, trained, self.attending)
        if detector.switches.text_loss_levels == "last":
            levels = {max(levels): levels[max(levels)]}
        return levels, context

    def terms(self, batch: Batch, seen: Seen) -> dict[str, Tensor]:
        """Weighted loss terms of a batch; their sum is the objective."""
        with self.place.autocast():
            return self.losses(self._named(batch, seen))

    def _descend(
        self,
        loss: Tensor,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        groups: Mapping[str, Sequence[nn.Parameter]],
    ) -> tuple[bool, dict[str, float]]:
        """One step: whether it was taken, and the norms of the unscaled, unclipped gradients.

        Loss scaling skips steps whose gradients overflow. Without it, gradients that are not finite never reach the
        weights: they raise `PluginFault`.
        """
        optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        norms = gradient_norms(groups)
        bad = [name for name, norm in norms.items() if not math.isfinite(norm)]
        if bad and not scaler.is_enabled():
            owned = ", ".join(f"{name} {self._owned(name)}".strip() for name in bad)
            fix = "lower the rate in [scheduler], or look at the stages that stand first among these"
            raise PluginFault(f"gradients are not finite: {owned}", where="training", fix=fix)
        if (clip_norm := self.plan.optimizer.clip_norm) is not None:
            nn.utils.clip_grad_norm_([parameter for group in groups.values() for parameter in group], clip_norm)
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        return scaler.get_scale() >= scale, norms

    def _owned(self, name: str) -> str:
        owner = self.detector.sites.owner(name)
        return f"(of {owner})" if owner else ""

    def _not_finite(self, batch: Batch, terms: dict[str, float]) -> UserError:
        """The fault behind a loss that is not finite: of the stage that makes it so, where it is one's."""
        try:
            with torch.no_grad(), self.detector.sites.looking_at_numbers():
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
        with torch.no_grad(), self.place.autocast():
            return dict(zip(classes, self.detector.text.class_features(classes), strict=True))

    def _named(self, batch: Batch, seen: Seen) -> dict[str, Tensor | dict[int, Tensor]]:
        """Predictions and targets by the names that losses ask for, and no others."""
        named: dict[str, Tensor | dict[int, Tensor]] = {"masks": batch.masks, "labels": batch.labels}
        if isinstance(seen, tuple):
            levels, features = seen[0], self.detector.text_features(batch.classes, seen[1])
        else:
            features = seen
            found = self.detector.image_features(batch.images, batch.classes, "vision" in self.attending)
            levels = found.levels
            named["detection_logits"] = (found.detection.float()[..., None] * features.float()).sum(dim=1)
        named["text_features"] = features
        if "level_probabilities" in self.losses.needs:
            size = batch.images.shape[-1]
            named["level_probabilities"] = {n: probability_map(p, features, size) for n, p in levels.items()}
        return named


def total(terms: dict[str, Tensor]) -> Tensor:
    """The objective: the sum of all terms, in float32."""
    return torch.stack([value.float() for value in terms.values()]).sum()


def fetched(loss: Tensor, terms: dict[str, Tensor]) -> tuple[float, dict[str, float]]:
    """The loss and its terms as numbers, read from the device at once: each reading waits for all of its work."""
    # Float64 holds a term of any precision as it is.
    value, *values = torch.stack([part.detach().double() for part in (loss, *terms.values())]).tolist()
    return value, dict(zip(terms, values, strict=True))
