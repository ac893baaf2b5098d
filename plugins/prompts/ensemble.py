"""The fixed ensemble: states in templates, each prompt's feature, and their average (method: section 2)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from aaclip_kit import Backbone, Prompts, PromptSetting, unit

from . import EnsembleOptions, WordOptions
from .published import ENSEMBLES

SLOPE = 0.01


class FixedWords(Prompts):
    """Prompts of fixed words: states outside, templates inside; the backbone's own features of them, averaged."""

    def __init__(self, options: WordOptions) -> None:
        super().__init__()
        words = ENSEMBLES[options.ensemble]
        self.normal, self.abnormal = options.normal or words.normal, options.abnormal or words.abnormal
        self.templates = options.templates or words.templates
        self.normal_prompts = len(self.normal) * len(self.templates)

    def prompts(self, real_name: str) -> Sequence[str]:
        """Every state in every template."""
        states = (state.replace("{}", real_name) for state in (*self.normal, *self.abnormal))
        return [template.replace("{}", state) for state in states for template in self.templates]

    def combine(self, features: Float[Tensor, "K P E"]) -> Float[Tensor, "K E 2"]:
        """Unit prompts, averaged within each state, and unit again."""
        return unit(self.averaged(unit(features))).transpose(1, 2)

    def averaged(self, features: Float[Tensor, "K P E"]) -> Float[Tensor, "K 2 E"]:
        """The mean of each state's prompts."""
        normal, abnormal = features[:, : self.normal_prompts], features[:, self.normal_prompts :]
        return torch.stack([normal.mean(dim=1), abnormal.mean(dim=1)], dim=1)


class Ensemble(FixedWords):
    """The same with a projection that trains, or not, and the choice of how prompts are averaged."""

    def __init__(self, options: EnsembleOptions, setting: PromptSetting) -> None:
        super().__init__(options)
        self.raw, self.active = options.average == "raw", options.projection == "random"
        self.projection = None if options.projection == "frozen" else self._projection(options, setting)

    def _projection(self, options: EnsembleOptions, setting: PromptSetting) -> nn.Linear:
        backbone = setting.backbone
        with setting.drawn("projection"):
            projection = nn.Linear(backbone.text.width, backbone.embedding_width, bias=False)
            nn.init.xavier_uniform_(projection.weight)
        if options.projection == "backbone":
            with torch.no_grad():
                projection.weight.copy_(setting.own_projection())
        return projection

    def project(self, backbone: Backbone, features: Float[Tensor, "items Dt"]) -> Float[Tensor, "items E"]:
        """The trained projection, with LeakyReLU where it was drawn; without one the backbone's own."""
        if self.projection is None:
            return backbone.project_text(features)
        projected = self.projection(features)
        return functional.leaky_relu(projected, SLOPE) if self.active else projected

    def project_untrained(self, backbone: Backbone, features: Float[Tensor, "items Dt"]) -> Float[Tensor, "items E"]:
        """The backbone's own projection."""
        return backbone.project_text(features)

    def combine(self, features: Float[Tensor, "K P E"]) -> Float[Tensor, "K E 2"]:
        """See `FixedWords`; or the plain mean of each state's prompts."""
        return self.averaged(features).transpose(1, 2) if self.raw else super().combine(features)
