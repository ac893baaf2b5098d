"""Losses, gradients and steps of the optimiser in both stages, through the training loop of a run."""

from __future__ import annotations

import re
from typing import Any

from aaclip_kit import TowerName
from aaclip_kit.training.step import Step

from .goldens import Goldens
from .keys import Group
from .rebuilt import Rebuilt, Trained

TRAJECTORY = re.compile(r"loss_of_(\d+)_adam_steps_lr(.+)")
VARIANT = re.compile(r"stage2_scale([\d.]+)_(normmatched|raw)")


def level_losses(step: Step) -> list[float]:
    """The segmentation loss of each level: focal and both dice terms."""
    sums: dict[int, float] = {}
    for name, value in step.terms.items():
        if found := re.fullmatch(r"segmentation/level_(\d+)_\w+", name):
            sums[int(found[1])] = sums.get(int(found[1]), 0.0) + value
    return [sums[level] for level in sorted(sums)]


def gradients(trained: Trained) -> dict[str, Any]:
    return {f"grad/{name}": gradient for name, gradient in trained.gradients.items()}


def adapter_gradient_norm(trained: Trained) -> float:
    """Norm of the gradients of all vision adapters together, as the step reports it."""
    return trained.steps[0].gradient_norms["vision_adapter"]


def trajectories(group: Group, rebuilt: Rebuilt, goldens: Goldens, tower: TowerName) -> dict[str, list[float]]:
    """The loss before each step, for every trajectory of the group; rate and steps stand in its name."""
    asked = {name: found for name in goldens.names(group) if (found := TRAJECTORY.fullmatch(name))}
    runs = {name: rebuilt.train(tower, steps=int(found[1]), rate=float(found[2])) for name, found in asked.items()}
    return {name: [step.loss for step in trained.steps] for name, trained in runs.items()}


def test_stage_1(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    trained = rebuilt.train("text")
    all_levels = trained
    if rebuilt.base.switches.text_loss_levels == "last":
        all_levels = rebuilt.train("text", "switches.text_loss_levels=all")
    step, weight = trained.steps[0], rebuilt.experiment().losses["text"]["orthogonality"].weight
    goldens.compare(
        group,
        {
            "loss": step.loss,
            "orthogonal": step.terms["orthogonality/orthogonality"] / weight,
            "seg_loss_per_level": level_losses(all_levels.steps[0]),
            **gradients(trained),
            **trajectories(group, rebuilt, goldens, "text"),
        },
    )


def test_stage_2(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    found = VARIANT.fullmatch(group.name)
    assert found is not None
    matched = str(found[2] == "normmatched").lower()
    stage = (f"stages.image_to_text.scale={found[1]}", f"stages.image_to_text.norm_matched={matched}")
    trained = rebuilt.train("vision", *stage)
    step = trained.steps[0]
    goldens.compare(
        group,
        {
            "loss": [step.loss, step.terms["detection/image_cross_entropy"], *level_losses(step)],
            "adapter_grad_norm": adapter_gradient_norm(trained),
            **gradients(trained),
        },
    )


def test_stage_2_without_cross_attention(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    trained = rebuilt.train("vision", attention=False)
    goldens.compare(group, {"adapter_grad_norm": adapter_gradient_norm(trained)})


def test_stage_2_trajectory(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    goldens.compare(group, trajectories(group, rebuilt, goldens, "vision"))
