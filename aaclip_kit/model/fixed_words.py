"""Prompts of fixed words: what methods with states and templates share (method: section 2)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts.prompts import Prompts
from ..kernels.maps import unit


class FixedWords(Prompts):
    """Every state of a class in every template, states outside; features of unit length, averaged within each state.

    States and templates hold `{}` once, where the name or the state stands.
    """

    def __init__(self, normal: Sequence[str], abnormal: Sequence[str], templates: Sequence[str]) -> None:
        super().__init__()
        self.states, self.templates = (*normal, *abnormal), tuple(templates)
        self.normal_prompts = len(normal) * len(templates)

    def prompts(self, real_name: str) -> Sequence[str]:
        """Every state in every template."""
        states = [state.replace("{}", real_name) for state in self.states]
        return [template.replace("{}", state) for state in states for template in self.templates]

    def combine(self, features: Float[Tensor, "K P E"]) -> Float[Tensor, "K E 2"]:
        """Unit prompts, averaged within each state, and unit again."""
        return unit(self.averaged(unit(features))).transpose(1, 2)

    def averaged(self, features: Float[Tensor, "K P E"]) -> Float[Tensor, "K 2 E"]:
        """Return the mean of each state's prompts."""
        normal, abnormal = features[:, : self.normal_prompts], features[:, self.normal_prompts :]
        return torch.stack([normal.mean(dim=1), abnormal.mean(dim=1)], dim=1)
