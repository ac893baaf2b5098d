"""The optimizer of a phase: from the scheduler's plain data to steps that no bad number can harm."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts.schedule import OptimizerPlan, PhasePlan
from ..distributed.collectives import all_reduce, sum_gradients
from ..distributed.compute_device import ComputeDevice
from ..distributed.ranks import ALONE, Ranks
from .gradient_norms import group_norms, part_norms
from .lr_schedule import build_schedule


def build_optimizer(
    plan: OptimizerPlan, parameters: Iterable[nn.Parameter], fused: bool = False
) -> torch.optim.Optimizer:
    """Build a new optimizer; a fused one takes its step in one kernel, and can be told on the device not to."""
    kind = torch.optim.AdamW if plan.name == "adamw" else torch.optim.Adam
    chosen = {"fused": True} if fused else {}
    return kind(list(parameters), lr=plan.learning_rate, betas=plan.betas, weight_decay=plan.weight_decay, **chosen)


@dataclass(frozen=True)
class StepStats:
    """A step in numbers: the loss, its weighted terms, and the norm of each group's gradient before clipping."""

    loss: float
    terms: dict[str, float]
    norms: dict[str, float]

    @property
    def bad_norms(self) -> list[str]:
        """Groups whose gradient is not finite."""
        return [name for name, norm in self.norms.items() if not math.isfinite(norm)]


class PendingStats:
    """A step's numbers on their way from the device."""

    def __init__(self, values: Tensor, terms: Sequence[str], sizes: Mapping[str, int]) -> None:
        self.terms, self.sizes = tuple(terms), dict(sizes)
        self.finite = values.isfinite().all()
        self.norm = torch.linalg.vector_norm(values[1 + len(terms) :])
        """Of all gradients, in float64: rounded to float32, their order and those that are 0 make no difference."""
        self._arrived: torch.cuda.Event | None = None
        if values.is_cuda:
            self._host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._host.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        else:
            self._host = values

    def read(self) -> StepStats:
        """Return the numbers, waiting until they are there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        values = iter(self._host.tolist())
        loss, terms = next(values), dict(zip(self.terms, islice(values, len(self.terms)), strict=True))
        return StepStats(loss, terms, group_norms(values, self.sizes))


class OptimizerStepper:
    """The optimizer of one phase, over groups of parameters by name, with its schedule and its loss scaling.

    Where the device runs ahead, nobody has looked at a step's numbers when the next one begins. So a step whose numbers
    are not finite leaves the weights as they are, and so does every later one unless it `skips` such steps: on the
    device, which is not waited for.
    """

    def __init__(
        self,
        plan: PhasePlan,
        groups: Mapping[str, Sequence[nn.Parameter]],
        compute_device: ComputeDevice,
        *,
        steps_per_epoch: int,
        ranks: Ranks = ALONE,
        skips: bool = False,
    ) -> None:
        self.skips = skips
        self.groups, self.clip_norm, self.ranks = groups, plan.optimizer.clip_norm, ranks
        self.parameters = [parameter for group in groups.values() for parameter in group]
        self.ahead = compute_device.runs_ahead
        self.optimizer = build_optimizer(plan.optimizer, self.parameters, fused=self.ahead)
        self.schedule = build_schedule(plan.rate, self.optimizer, plan.epochs, steps_per_epoch)
        self.scaler = compute_device.gradient_scaler()
        self._stopped = torch.zeros((), device=compute_device.device)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.optimizer.param_groups[0]["lr"]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return what a later stepper over the same groups needs to go on from here: tensors, and plain data."""
        held = self.optimizer.state_dict()["state"]
        tensors = {f"{index}.{key}": value for index, of in held.items() for key, value in of.items()}
        schedule = {key: value for key, value in self.schedule.state_dict().items() if key != "lr_lambdas"}
        return tensors, {"rate": self.learning_rate, "rates": schedule, "scaler": self.scaler.state_dict()}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Go on from what `state` has given."""
        held: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            held.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": held})
        self.optimizer.param_groups[0]["lr"] = state["rate"]
        self.schedule.load_state_dict({**state["rates"], "lr_lambdas": [None]})
        self.scaler.load_state_dict(dict(state["scaler"]))

    def gradients(self, loss: Tensor, terms: Mapping[str, Tensor]) -> PendingStats:
        """Differentiate the loss; return its numbers, those of its terms and of the unscaled, unclipped gradients.

        Of several ranks, each gives its addend of the loss, and its addends of the terms as they are reported; the
        numbers, and the gradients that remain, are the sums.
        """
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        sum_gradients(self.ranks, self.parameters)
        self.scaler.unscale_(self.optimizer)
        held = {name: [part.grad for part in group if part.grad is not None] for name, group in self.groups.items()}
        parts = [*self._reported(loss, terms), *part_norms(chain.from_iterable(held.values()))]
        return PendingStats(torch.stack(parts), tuple(terms), {name: len(group) for name, group in held.items()})

    def _reported(self, loss: Tensor, terms: Mapping[str, Tensor]) -> Tensor:
        # Float64 holds a term of any precision as it is.
        values = torch.stack([part.detach().double() for part in (loss, *terms.values())])
        if self.ranks.is_distributed:
            values[1:] = all_reduce(self.ranks, values[1:].contiguous())
            values[0] = values[1:].sum()
        return values

    def take(self, stats: PendingStats) -> None:
        """Take the step; loss scaling skips one whose gradients overflow, and its rate with it."""
        if self.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, stats.norm.float())
        if self.ahead:
            # What torch's own loss scaling tells a fused optimizer, which then skips the step by itself.
            bad = (~stats.finite).to(self._stopped)
            self._stopped = bad if self.skips else torch.maximum(self._stopped, bad)
            self.optimizer.grad_scale, self.optimizer.found_inf = None, self._stopped  # type: ignore[attr-defined]
            self.optimizer.step()
            return self.schedule.step()
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.scaler.get_scale() >= scale:
            self.schedule.step()

    def leave_out(self) -> None:
        """Go on without the step: the weights stay as they are, and the rate goes its way."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.step()
        self.schedule.step()
