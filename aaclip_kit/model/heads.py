"""The trained projections that replace CLIP's own (method: section 3)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..contracts.backbone import Backbone, text_tower
from ..distributed.random_streams import drawn_for

SLOPE = 0.01


class Projection(nn.Module):
    """Bias-free linear layer, Xavier-uniform, with an optional LeakyReLU; drawn for a seed and a name."""

    def __init__(self, width: int, embedding_width: int, activation: bool, *stream: object) -> None:
        super().__init__()
        with drawn_for(*stream):
            self.linear = nn.Linear(width, embedding_width, bias=False)
            nn.init.xavier_uniform_(self.linear.weight)
        self.activation = activation

    def forward(self, features: Float[Tensor, "*items D"]) -> Float[Tensor, "*items E"]:
        """Project the last axis."""
        projected = self.linear(features)
        return functional.leaky_relu(projected, SLOPE) if self.activation else projected


class Heads(nn.Module):
    """Text projection, one segmentation projection a level, detection projection.

    With `as_backbone` they begin as the backbone's own projections, and the text's has no activation.
    """

    def __init__(
        self, backbone: Backbone, levels: tuple[int, ...], activation: bool, seed: int, as_backbone: bool = False
    ) -> None:
        super().__init__()
        text, vision, width = text_tower(backbone).width, backbone.vision.width, backbone.embedding_width
        self.text = Projection(text, width, not as_backbone, seed, "head", "text")
        self.segmentation = nn.ModuleDict(
            {str(level): Projection(vision, width, activation, seed, "head", level) for level in levels}
        )
        self.detection = Projection(vision, width, activation, seed, "head", "detection")
        if as_backbone:
            for projection in (*self.segmentation.values(), self.detection):
                _begin_as(projection, backbone.project_image, vision)
            _begin_as(self.text, backbone.project_text, text)

    def patches(self, level: int, tokens: Float[Tensor, "B N Dv"]) -> Float[Tensor, "B N E"]:
        """Unit patch features of one level."""
        return unit(self.segmentation[str(level)](tokens))

    def detect(self, tokens: Float[Tensor, "B N Dv"]) -> Float[Tensor, "B E"]:
        """Mean of the unit detection features of the patches, not normalised again."""
        return unit(self.detection(tokens)).mean(dim=1)


def unit(features: Float[Tensor, "*items D"]) -> Float[Tensor, "*items D"]:
    """Divide by the norm over the last axis."""
    return features / torch.linalg.vector_norm(features, dim=-1, keepdim=True)


@torch.no_grad()
def _begin_as(projection: nn.Module, own: Callable[[Tensor], Tensor], width: int) -> None:
    """Copy the matrix of a linear map; a constant that it adds is left out."""
    assert isinstance(projection, Projection)
    projection.linear.weight.copy_((own(torch.eye(width)) - own(torch.zeros(1, width))).T)
