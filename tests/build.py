"""Assembled runs on the tiny random backbone, inputs for them, and doubles that watch them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from aaclip_kit_plugins.projections.head import Projections
from aaclip_kit_plugins.prompts.ensemble import Ensemble
from torch import Tensor, nn

from aaclip_kit import ImageFeatures, Loss, OptimizerPlan, PhasePlan, TowerName
from aaclip_kit.contracts.loss import LossInput
from aaclip_kit.contracts.options import TOWERS
from aaclip_kit.contracts.schedule import Trains
from aaclip_kit.data.loader import TrainBatches
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.experiment import ComponentConfig, load
from aaclip_kit.experiment.schema import AugmentationTable
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.model.image_tower import CLASS_ALONE
from aaclip_kit.model.text_tower import TextSide
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

Factory = Callable[..., Any]

STILL = AugmentationTable(geometry=0.0, color=0.0)
"""Augmentation that does nothing."""

STRONG = ("stages.text_to_image.scale=0.7", "stages.image_to_text.scale=0.7")


def build(path: Path, *overrides: str) -> Run:
    """The file's run, with trained weights and scales so large that every stage's share exceeds any tolerance."""
    run = assemble(load(path, discover(), [*STRONG, *overrides]))
    move_weights(run.model)
    return run


def with_parts(path: Path, *overrides: str, stages: Mapping[str, Factory] | None = None, **kinds: Factory) -> Run:
    """The file's run with other factories of its stages, by name, and of its head, prompts or scheduler."""
    experiment = load(path, discover(), overrides)
    placed = {name: _made_by(chosen, (stages or {}).get(name)) for name, chosen in experiment.stages.items()}
    changed: dict[str, Any] = {kind: _made_by(getattr(experiment, kind), factory) for kind, factory in kinds.items()}
    return assemble(replace(experiment, stages=placed, **changed))


def _made_by(chosen: ComponentConfig, factory: Factory | None) -> ComponentConfig:
    return chosen if factory is None else replace(chosen, component=replace(chosen.component, factory=factory))


def move_weights(model: AnomalyModel, seed: int = 5) -> None:
    """Add noise to every trained weight, zero biases included."""
    generator = torch.Generator().manual_seed(seed)
    for tower in TOWERS:
        for parameter in model.trained_parameters(tower).values():
            with torch.no_grad():
                parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator))


def images_for(run: Run, count: int, seed: int = 0) -> Tensor:
    """Noise of the backbone's size, as if normalised."""
    size = run.pixels.size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def text_of(model: AnomalyModel) -> TextSide:
    """The text side of a model that has one."""
    assert model.text is not None
    return model.text


def head_of(model: AnomalyModel) -> Projections:
    """The built-in head."""
    assert isinstance(model.head, Projections)
    return model.head


def text_projection_of(model: AnomalyModel) -> nn.Linear:
    """The projection of the built-in prompts that trains."""
    assert isinstance(model.prompts, Ensemble) and model.prompts.projection is not None
    return model.prompts.projection


def untouched_features(model: AnomalyModel, images: Tensor, levels: tuple[int, ...] | None = None) -> ImageFeatures:
    """What the head makes of the untouched backbone before training, at some levels or all."""
    tokens = model.image.untouched(images, model.untrained_reads, levels or model.levels)
    return model.head.untrained_features(tokens)


def class_embeddings(model: AnomalyModel, images: Tensor) -> Tensor:
    """Class embeddings `[B, E]` of the untouched backbone, not of unit length."""
    found = model.image.untouched(images, CLASS_ALONE, ()).class_embedding
    assert found is not None
    return found


def contexts_for(run: Run, count: int, seed: int = 1) -> Tensor:
    """Image contexts `[B, N, E]` of noise."""
    backbone = run.model.backbone
    shape = (count, backbone.grid**2, backbone.embedding_width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plan_for(train: Trains, **changes: object) -> PhasePlan:
    """One epoch in batches of 4."""
    plan = {"epochs": 1, "batch_size": 4, "optimizer": OptimizerPlan(learning_rate=1e-3), **changes}
    return PhasePlan(train=train, **plan)  # type: ignore[arg-type]


def phase_for(run: Run, plan: PhasePlan, losses: WeightedLosses | None = None, loop: int = 1) -> Phase:
    """A phase on the training images, without augmentation."""
    attending = frozenset(TOWERS) if plan.attention else frozenset[TowerName]()
    batches = TrainBatches(
        run.data.sets["train"].samples, run.pixels, STILL, augment="none", batch_size=plan.batch_size, key=(0, 0, 0)
    )
    return Phase(
        model=run.model, losses=losses or run.losses[plan.train], plan=plan, batches=batches,
        compute_device=run.compute_device, loop=loop, attending=attending,
    )  # fmt: skip


def train(run: Run, plan: PhasePlan, losses: WeightedLosses | None = None) -> list[Step]:
    """Run a phase; returns what its steps report."""
    steps: list[Step] = []
    train_phase(phase_for(run, plan, losses), StepCallback(steps.append))
    return steps


def values_of(model: AnomalyModel) -> dict[str, Tensor]:
    """A copy of every tensor, the frozen ones included."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def names_in_modules(model: AnomalyModel, tower: TowerName) -> set[str]:
    """Names that modules give to a tower's trained parameters; in files those of stages have other ones."""
    trained = {id(parameter) for parameter in model.trained_parameters(tower).values()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in trained}


def evaluator_of(run: Run) -> Evaluator:
    """The evaluator that the run itself would score with."""
    file = run.experiment.file
    return Evaluator(run.model, run.compute_device, run.pixels, table=file.evaluation, switches=file.switches)


class Watcher:
    """Keeps what a run tells whoever watches it."""

    def __init__(self) -> None:
        self.phases: list[tuple[int, str]] = []
        self.steps: list[Step] = []
        self.means: list[tuple[int, dict[str, float | None]]] = []
        self.messages: list[str] = []

    def phase(self, loop: int, plan: PhasePlan, steps: int) -> None:
        self.phases.append((loop, plan.train))

    def step(self, step: Step) -> None:
        self.steps.append(step)

    def evaluated(self, loop: int, mean: dict[str, float | None]) -> None:
        self.means.append((loop, mean))

    def message(self, text: str) -> None:
        self.messages.append(text)


def run_file(path: Path, out: Path, *overrides: str) -> tuple[dict[str, Any], Watcher]:
    """Run an experiment file to its end; returns its metrics and what a watcher has seen."""
    watcher = Watcher()
    assembled = assemble(load(path, discover(), overrides))
    return execute(assembled, RunFolder.create(out), watcher), watcher


class Probe(Loss):
    """Keeps what it is given; its one term pulls at whatever the phase trains."""

    needs: ClassVar[tuple[LossInput, ...]] = ("level_probabilities", "text_features", "masks", "labels")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def forward(self, **named: Any) -> dict[str, Tensor]:
        self.seen.append(named)
        return {"pull": sum(found[:, 1].mean() for found in named["level_probabilities"].values())}


class BreaksAtStep(Probe):
    """The same, with a second term that is not a number at one step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def forward(self, **named: Any) -> dict[str, Tensor]:
        pull = super().forward(**named)["pull"]
        return {"fine": pull, "broken": pull * (float("nan") if len(self.seen) == self.step else 1.0)}
