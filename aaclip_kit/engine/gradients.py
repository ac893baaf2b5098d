"""Gradient norms of what a phase trains, and a watch on the adapters' (method: section 4, gradient dilution)."""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..contracts.options import TOWERS, TowerName
from .detector import Detector

if TYPE_CHECKING:
    from .training import Step

HEADS: dict[TowerName, str] = {"text": "text_head", "vision": "vision_heads"}
"""What the trained projections of each tower are called among the groups."""

LOOK_AT = (
    "if events.jsonl shows it at other steps too, look at stages that act after them (a detach, a context of huge "
    "norm), at their blocks (none lies behind the last level) and at the losses; `aakit gradients` measures each stage"
)


def trained_groups(detector: Detector, tower: TowerName, attending: Set[TowerName]) -> dict[str, list[nn.Parameter]]:
    """Parameters that train in a phase of `tower`, by stage name, and the heads.

    A stage with a context is left out where its tower is not among `attending`.
    """
    groups: dict[str, list[nn.Parameter]] = {}
    for _, name, stage in detector.sites.of(tower):
        if stage.context_kind == "none" or tower in attending:
            groups.setdefault(name, []).extend(stage.parameters())
    parameters = detector.trained_parameters(tower).items()
    groups[HEADS[tower]] = [parameter for name, parameter in parameters if name.startswith("heads.")]
    return {name: group for name, group in groups.items() if group}


def adapter_names(detector: Detector) -> frozenset[str]:
    """Names of the stages without a context, of both towers."""
    return frozenset(
        name for tower in TOWERS for _, name, stage in detector.sites.of(tower) if stage.context_kind == "none"
    )


def norms(gradients: Mapping[str, Sequence[Tensor | None]]) -> dict[str, float]:
    """Norm of each group of gradients, all fetched from the device at once; 0 for a group that has none."""
    held = {name: [part for part in group if part is not None] for name, group in gradients.items()}
    parts = part_norms(chain.from_iterable(held.values()))
    return group_norms(torch.stack(parts).tolist() if parts else [], {name: len(group) for name, group in held.items()})


def part_norms(gradients: Iterable[Tensor]) -> list[Tensor]:
    """Norm of each gradient, on its device.

    Summed in float64: of a tensor with millions of entries, float32 gives three digits on a CPU.
    """
    return [torch.linalg.vector_norm(part, dtype=torch.float64) for part in gradients]


def group_norms(values: Iterable[float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Norm of each group, from those of its gradients, which stand in a row, so many a group."""
    each = iter(values)
    return {name: math.hypot(*islice(each, size)) for name, size in sizes.items()}


@dataclass
class AdapterWatch:
    """Notices, once a run, that the adapters take no gradient, or next to none.

    A run that goes on like that trains its heads and attention alone, and no figure of it says so.
    """

    adapters: frozenset[str]
    floor: float
    warned: bool = False

    def check(self, step: "Step") -> dict[str, Any] | None:
        """The event that tells of it, with a `message`, at the first step where a norm is not above the floor."""
        if self.warned:
            return None
        for group, norm in step.gradient_norms.items():
            if group in self.adapters and norm <= self.floor:
                self.warned = True
                return self._event(step, group, norm)
        return None

    def _event(self, step: "Step", group: str, norm: float) -> dict[str, Any]:
        place = f"loop {step.loop}, {step.phase} phase, step {step.step}"
        fault = f"the gradient norm of the adapters '{group}' is {norm:.3g}, not above {self.floor:.3g}"
        return {
            "event": "warning", "loop": step.loop, "phase": step.phase, "step": step.step, "group": group,
            "gradient_norm": norm, "floor": self.floor, "message": f"warning: {place}: {fault}; {LOOK_AT}",
        }  # fmt: skip
