"""Gradient norms of what a phase trains, group by group (method: section 4, gradient dilution)."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain, islice

import torch
from torch import Tensor, nn

from ..contracts.options import TowerName
from ..model.anomaly_model import AnomalyModel

HEADS: dict[TowerName, str] = {"text": "text_head", "vision": "vision_heads"}
"""What the trained projections of each tower are called among the groups."""


def trained_groups(model: AnomalyModel, tower: TowerName, attending: Set[TowerName]) -> dict[str, list[nn.Parameter]]:
    """Parameters that train in a phase of `tower`, by stage name, and the heads.

    A stage with a context is left out where its tower is not among `attending`.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for _, name, stage in model.slots.of(tower):
        if stage.context_kind == "none" or tower in attending:
            groups.setdefault(name, []).extend(stage.parameters())
    parameters = model.trained_parameters(tower).items()
    groups[HEADS[tower]] = [parameter for name, parameter in parameters if name.startswith("heads.")]
    return {name: group for name, group in groups.items() if group}


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
