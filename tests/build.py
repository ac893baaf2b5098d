"""Assembled runs on the tiny random backbone, and inputs for them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from aaclip_kit import OptimizerPlan, PhasePlan, TowerName
from aaclip_kit.data.loader import TrainBatches
from aaclip_kit.experiment import load
from aaclip_kit.experiment.schema import AugmentationTable
from aaclip_kit.model.anomaly_model import AnomalyModel
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import Phase, train_phase
from aaclip_kit.training.step import Step, StepCallback

STILL = AugmentationTable(geometry=0.0, color=0.0)
"""Augmentation that does nothing."""

STRONG = ("stages.text_to_image.scale=0.7", "stages.image_to_text.scale=0.7")


def build(path: Path, *overrides: str) -> Run:
    """The file's run, with trained weights and scales so large that every stage's share exceeds any tolerance."""
    run = assemble(load(path, discover(), [*STRONG, *overrides]))
    move_weights(run.model)
    return run


def move_weights(model: AnomalyModel, seed: int = 5) -> None:
    """Add noise to every trained weight, zero biases included."""
    generator = torch.Generator().manual_seed(seed)
    for tower in ("text", "vision"):
        for parameter in model.trained_parameters(tower).values():
            with torch.no_grad():
                parameter += 0.4 * torch.randn(parameter.shape, generator=generator)


def images_for(run: Run, count: int, seed: int = 0) -> Tensor:
    """Noise of the backbone's size, as if normalised."""
    size = run.pixels.size
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def contexts_for(run: Run, count: int, seed: int = 1) -> Tensor:
    """Image contexts `[B, N, E]` of noise."""
    backbone = run.model.backbone
    shape = (count, backbone.grid**2, backbone.embedding_width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plan_for(train: TowerName, **changes: object) -> PhasePlan:
    """One epoch in batches of 4."""
    plan = {"epochs": 1, "batch_size": 4, "optimizer": OptimizerPlan(rate=1e-3), **changes}
    return PhasePlan(train=train, **plan)  # type: ignore[arg-type]


def phase_for(run: Run, plan: PhasePlan, losses: WeightedLosses | None = None, loop: int = 1) -> Phase:
    """A phase on the training images, without augmentation."""
    attending: set[TowerName] = {"text", "vision"} if plan.attention else set()
    batches = TrainBatches(run.data.sets["train"].samples, run.pixels, STILL, "none", plan.batch_size, (0, 0, 0))
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
