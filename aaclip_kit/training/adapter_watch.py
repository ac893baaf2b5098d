"""A watch on the adapters, which may take no gradient while everything else trains (method: section 4)."""

from dataclasses import dataclass
from typing import Any

from ..contracts.options import TOWERS
from ..model.anomaly_model import AnomalyModel
from .step import Step

LOOK_AT = (
    "if events.jsonl shows it at other steps too, look at stages that act after them (a detach, a context of huge "
    "norm), at their blocks (none lies behind the last level) and at the losses; `aakit gradients` measures each stage"
)


def adapter_names(model: AnomalyModel) -> frozenset[str]:
    """Names of the stages without a context, of both towers."""
    placed = (one for tower in TOWERS for one in model.slots.of(tower))
    return frozenset(name for _, name, stage in placed if stage.context_kind == "none")


@dataclass
class AdapterWatch:
    """Notices, once a run, that the adapters take no gradient, or next to none.

    A run that goes on like that trains its heads and attention alone, and no figure of it says so.
    """

    adapters: frozenset[str]
    floor: float
    warned: bool = False

    def check(self, step: Step) -> dict[str, Any] | None:
        """The event that tells of it, with a `message`, at the first step where a norm is not above the floor."""
        if self.warned:
            return None
        for group, norm in step.gradient_norms.items():
            if group in self.adapters and norm <= self.floor:
                self.warned = True
                return self._event(step, group, norm)
        return None

    def _event(self, step: Step, group: str, norm: float) -> dict[str, Any]:
        place = f"loop {step.loop}, {step.phase} phase, step {step.step}"
        fault = f"the gradient norm of the adapters '{group}' is {norm:.3g}, not above {self.floor:.3g}"
        return {
            "event": "warning", "loop": step.loop, "phase": step.phase, "step": step.step, "group": group,
            "gradient_norm": norm, "floor": self.floor, "message": f"warning: {place}: {fault}; {LOOK_AT}",
        }  # fmt: skip
