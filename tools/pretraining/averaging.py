"""A running average of the weights: smoother than the last step, and what is exported."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EVERY = 10
"""Steps between updates."""


class Average:
    """Exponential average of a model's trained parameters, started short so that early exports are not stale."""

    def __init__(self, model: Any, decay: float) -> None:
        self._decay = decay
        self.updates = 0
        self.weights: dict[str, Tensor] = {
            k: p.detach().clone() for k, p in model.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self, model: Any) -> None:
        """Move towards the model's present weights."""
        self.updates += 1
        decay = min(self._decay, self.updates / (self.updates + 9.0))
        torch._foreach_lerp_(
            list(self.weights.values()), [p.detach() for p in model.parameters() if p.requires_grad], 1.0 - decay
        )
