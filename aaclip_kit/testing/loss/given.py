"""What the checks of a loss share: the loss, and predictions and targets of a batch."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ...contracts.loss import Loss, LossInput
from ...contracts.options import TOWERS, TowerName
from ...training.losses import MADE, TRAINED
from ..check import Found
from ..subject import Subject

IMAGES, WIDTH, SIDE = 4, 24, 16
LEVELS = (1, 3)
Labels = Literal["mixed", "normal", "anomalous"]
Named = dict[str, Any]


def build(subject: Subject) -> Loss:
    """The loss."""
    torch.manual_seed(0)
    loss = subject.build()
    if not isinstance(loss, Loss):
        raise Found(f"the factory gave {type(loss).__name__}, which is no Loss")
    needs = getattr(loss, "needs", None)
    if not isinstance(needs, tuple) or not needs:
        raise Found(f"its `needs` is {needs!r}, not a tuple of names")
    if strange := [name for name in needs if name not in get_args(LossInput)]:
        raise Found(f"its `needs` names {', '.join(map(repr, strange))}, which no phase makes")
    return loss


def phases(loss: Loss) -> list[TowerName]:
    """Phases that make all that the loss needs, and train some of it."""
    return [tower for tower in TOWERS if set(loss.needs) <= MADE[tower] and set(loss.needs) & TRAINED[tower]]


def batch(
    labels: Labels = "mixed", images: int = IMAGES, levels: tuple[int, ...] = LEVELS, edges: bool = False, seed: int = 1
) -> Named:
    """All that a phase can make of a batch; `edges` puts probabilities at exactly 0 and 1, right and wrong ones."""
    generator = torch.Generator().manual_seed(seed)
    label = {"mixed": torch.arange(images) % 2, "normal": torch.zeros(images), "anomalous": torch.ones(images)}[labels]
    masks = torch.zeros(images, 1, SIDE, SIDE)
    masks[:, :, 3:9, 4:12] = label.float().reshape(-1, 1, 1, 1)
    logits = [3 * torch.randn(images, 2, SIDE, SIDE, generator=generator) for _ in levels]
    maps = {level: found.softmax(dim=1) for level, found in zip(levels, logits, strict=True)}
    if edges:
        maps = {level: (found == found.amax(dim=1, keepdim=True)).float() for level, found in maps.items()}
    features = torch.randn(images, WIDTH, 2, generator=generator)
    return {
        "level_probabilities": maps,
        "text_features": features / torch.linalg.vector_norm(features, dim=1, keepdim=True),
        "detection_logits": (50 if edges else 1) * torch.randn(images, 2, generator=generator),
        "masks": masks,
        "labels": label.long(),
    }


def terms(loss: Loss, named: Named) -> dict[str, Tensor]:
    """What the loss says of what it needs of a batch."""
    found: dict[str, Tensor] = loss(**{name: named[name] for name in loss.needs})
    return found


def differentiable(named: Named, loss: Loss) -> dict[str, Tensor]:
    """Set predictions that a phase trains to take gradients; returns them by name."""
    trained = {name for tower in phases(loss) for name in TRAINED[tower]} & set(loss.needs)
    found: dict[str, Tensor] = {}
    for name in sorted(trained):
        value = named[name]
        parts = (
            {f"{name}[{level}]": part for level, part in value.items()} if isinstance(value, dict) else {name: value}
        )
        found.update({said: part.requires_grad_() for said, part in parts.items()})
    return found


def total(found: dict[str, Tensor]) -> Tensor:
    """The sum of all terms."""
    return torch.stack([value.float() for value in found.values()]).sum()
