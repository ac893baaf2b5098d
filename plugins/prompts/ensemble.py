"""The fixed ensemble: states in templates, each prompt's feature, and their average (method: section 2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from aaclip_kit import Backbone, FixedWords, PromptSetting, text_tower

from . import EnsembleOptions
from .published import ENSEMBLES

SLOPE = 0.01


class Ensemble(FixedWords):
    """Fixed words with a projection that trains, or not, and the choice of how prompts are averaged."""

    def __init__(self, options: EnsembleOptions, setting: PromptSetting) -> None:
        words = ENSEMBLES[options.ensemble]
        super().__init__(
            options.normal or words.normal, options.abnormal or words.abnormal, options.templates or words.templates
        )
        self.raw, self.active = options.average == "raw", options.projection == "random"
        self.projection = None if options.projection == "frozen" else self._projection(options, setting)

    def _projection(self, options: EnsembleOptions, setting: PromptSetting) -> nn.Linear:
        backbone = setting.backbone
        with setting.drawn("projection"):
            projection = nn.Linear(text_tower(backbone).width, backbone.embedding_width, bias=False)
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
