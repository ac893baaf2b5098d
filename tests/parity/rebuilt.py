"""The toolkit with the recipe's weights and inputs, built from the shipped experiment files as a run builds it."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from aaclip_kit import Backbone, ImageFeatures, PhasePlan, RatePlan, Sample, TowerName
from aaclip_kit.checkpoints.published_layout import published_names
from aaclip_kit.data.loader import Batch, Pixels, TrainBatches
from aaclip_kit.distributed.compute_device import ComputeDevice
from aaclip_kit.experiment import Experiment, load
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.model.build import build_model
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

from .goldens import Goldens
from .keys import Profile

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
FILES: dict[Profile, str] = {"published": "published_vitl_visa.toml", "corrected": "vitl_visa_to_mvtec.toml"}

AS_IN_THE_GOLDENS = (
    "backbone.pretrained=none",
    "switches.dropout=false",
    "switches.text_context_padding=attended",
)
"""What the goldens have in both profiles."""

PLACE = ComputeDevice(torch.device("cpu"), "fp32")
BOTH: frozenset[TowerName] = frozenset({"text", "vision"})


@dataclass(frozen=True)
class Trained:
    """Steps of a phase as a run reports them, and the last step's gradients by published name."""

    steps: list[Step]
    gradients: dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class SameBatch(TrainBatches):
    """One batch, given, again in every epoch."""

    batch: Batch

    def epoch(self, number: int, *others: object) -> Iterable[Batch]:  # type: ignore[override]
        """The batch."""
        return [self.batch]


class Rebuilt:
    """One profile of the toolkit. The frozen backbone is built once; stages and heads for each choice of options."""

    def __init__(self, goldens: Goldens, profile: Profile) -> None:
        self.goldens, self.profile = goldens, profile
        self.tag, self.info, self.recipe = goldens.info["tag"], goldens.info, goldens.recipe
        chosen = self.experiment().backbone
        self.backbone: Backbone = chosen.component.build(chosen.options)
        weights = self.backbone.named_parameters()
        self._fill((f"clip/{name.removeprefix('clip.')}", p) for name, p in weights if "logit_scale" not in name)

    def experiment(self, *overrides: str) -> Experiment:
        """The profile's experiment file, with what the goldens have and more overrides."""
        size = f"backbone.image_size={self.info['image_size']}"
        return load(EXPERIMENTS / FILES[self.profile], discover(), [*AS_IN_THE_GOLDENS, size, *overrides])

    def model(self, *overrides: str) -> AnomalyModel:
        """A detector of its own stages and heads, around the one backbone."""
        experiment = self.experiment(*overrides)
        built = replace(experiment.backbone.component, factory=lambda options: self.backbone)
        experiment = replace(experiment, backbone=replace(experiment.backbone, component=built))
        model = build_model(experiment, self.info["real_names"])
        trained = {**model.trained_parameters("text"), **model.trained_parameters("vision")}
        names = published_names(model)
        assert trained.keys() == names.keys(), "something is trained that has no published name"
        self._fill((names[name], parameter) for name, parameter in trained.items())
        return model.requires_grad_(False)

    def train(
        self, tower: TowerName, *overrides: str, attention: bool = True, steps: int = 1, rate: float = 0.0
    ) -> Trained:
        """Train with the optimiser of the experiment's first loop, at a constant rate; at 0 the weights stay."""
        experiment, model = self.experiment(*overrides), self.model(*overrides)
        chosen = experiment.losses[tower]
        losses = {name: (one.component.build(one.options), one.weight) for name, one in chosen.items()}
        scheduler = experiment.scheduler.component.build(experiment.scheduler.options)
        plan: PhasePlan = next(plan for plan in scheduler.next_loop(()).phases if plan.train == tower)
        plan = replace(plan, epochs=steps, optimizer=replace(plan.optimizer, learning_rate=rate), rate=RatePlan())
        reported: list[Step] = []
        attending = BOTH if attention else frozenset()
        phase = Phase(
            model=model, losses=WeightedLosses(losses), plan=plan, batches=self._batches(),
            compute_device=PLACE, loop=1, attending=attending,
        )  # fmt: skip
        train_phase(phase, StepCallback(reported.append))
        parameters, names = model.trained_parameters(tower), published_names(model)
        gradients = {names[name]: p.grad for name, p in parameters.items() if p.grad is not None}
        return Trained(reported, gradients)

    @cached_property
    def base(self) -> AnomalyModel:
        """The detector of the experiment without overrides; nothing trains it."""
        return self.model()

    @cached_property
    def without_attention(self) -> ImageFeatures:
        """Image pass of the adapters alone."""
        return self.base.image_features(self.images, self.classes, attention=False)

    @cached_property
    def images(self) -> Tensor:
        """The recipe's images, already normalised."""
        return torch.from_numpy(self.recipe.images(self.tag, self.info["batch"], self.info["image_size"]))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class of each image."""
        return tuple(self.info["batch_classes"])

    def _batches(self) -> SameBatch:
        size = self.info["image_size"]
        masks = torch.from_numpy(self.recipe.masks(self.tag, self.info["batch"], size))
        labels = self.info["labels"]
        samples = tuple(
            Sample(Path(f"image{number}"), name, label)
            for number, (name, label) in enumerate(zip(self.classes, labels, strict=True))
        )
        batch = Batch(self.images, masks, torch.tensor(labels), samples)
        pixels = Pixels(size, self.backbone.image_mean, self.backbone.image_std)
        table = self.experiment().file.augmentation
        return SameBatch(samples, pixels, table, augment="none", batch_size=len(samples), key=(0,), batch=batch)

    @torch.no_grad()
    def _fill(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> None:
        for name, parameter in parameters:
            parameter.copy_(torch.from_numpy(self.recipe.weight(self.tag, name, tuple(parameter.shape))))


class Workbench:
    """Holds one profile at a time: two full-size backbones need twice the memory."""

    def __init__(self, goldens: Goldens) -> None:
        self.goldens = goldens
        self._held: Rebuilt | None = None

    def of(self, profile: Profile) -> Rebuilt:
        """The toolkit in this profile; the other one is let go."""
        if self._held is None or self._held.profile != profile:
            self.clear()
            self._held = Rebuilt(self.goldens, profile)
        return self._held

    def clear(self) -> None:
        """Give the memory back."""
        self._held = None
        gc.collect()
