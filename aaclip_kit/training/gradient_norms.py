"""Gradient norms of what a phase trains, group by group (method: section 4, gradient dilution)."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain, islice

import torch
from torch import Tensor, nn

from ..contracts.options import TowerName
from ..contracts.schedule import Trains, towers_of
from ..model.anomaly_model import AnomalyModel

HEADS: dict[TowerName, str] = {"text": "text_head", "vision": "vision_heads"}
"""What the prompts, of the text tower, and the head are called among the groups."""


def trained_groups(model: AnomalyModel, trains: Trains, attending: Set[TowerName]) -> dict[str, list[nn.Parameter]]:
    """Parameters that a phase trains, by stage name, and those of the prompts and the head.

    A stage with a context is left out where its tower is not among `attending`.
    """
    groups: dict[str, dict[nn.Parameter, None]] = {}
    for tower in towers_of(trains):
        for _, name, stage in model.slots.of(tower):
            if stage.context_kind == "none" or tower in attending:
                groups.setdefault(name, {}).update(dict.fromkeys(stage.parameters()))
        module = model.prompts if tower == "text" else model.head
        groups[HEADS[tower]] = {} if module is None else dict.fromkeys(module.parameters())
    return {name: [*group] for name, group in groups.items() if group}


def norms(gradients: Mapping[str, Sequence[Tensor | None]]) -> dict[str, float]:
    """Norm of each group of gradients, all fetched from the device at once; 0 for a group that has none."""
    held = {name: [part for part in group if part is not None] for name, group in gradients.items()}
    parts = part_norms(chain.from_iterable(held.values()))
    return group_norms(torch.stack(parts).tolist() if parts else [], {name: len(group) for name, group in held.items()})


def part_norms(gradients: Iterable[Tensor]) -> list[Tensor]:
    """Norms on the gradients' device, summed in float64: of millions of entries float32 gives three digits on a CPU."""
    return [torch.linalg.vector_norm(part, dtype=torch.float64) for part in gradients]


def group_norms(values: Iterable[float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Norm of each group, from those of its gradients, which stand in a row, so many a group."""
    each = iter(values)
    return {name: math.hypot(*islice(each, size)) for name, size in sizes.items()}
