"""Trained projections of patches, maps of their similarity to text, image scores (method: sections 3, 5, 6 and 8)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from aaclip_kit import (
    Domain,
    Head,
    HeadSetting,
    ImageFeatures,
    ImageTokens,
    Reads,
    Scores,
    gaussian_blur,
    softmax_maps,
    unit,
    upsampled,
)  # fmt: skip

from . import ProjectionsOptions

SLOPE: Final = 0.01
TEMPERATURE: Final = 100.0

REACH: Final = 0.1
"""How far the cosines to abnormal and to normal are apart where the colours of a picture end."""

BLUR: Final[dict[Domain, tuple[int, float]]] = {"industrial": (7, 1.0), "medical": (9, 1.5)}
"""Side and sigma of the Gaussian, on the patch grid."""


class Projection(nn.Module):
    """Bias-free linear layer, Xavier-uniform, with an optional LeakyReLU."""

    def __init__(self, width: int, embedding_width: int, activation: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(width, embedding_width, bias=False)
        nn.init.xavier_uniform_(self.linear.weight)
        self.activation = activation

    def forward(self, features: Float[Tensor, "*items D"]) -> Float[Tensor, "*items E"]:
        """Project the last axis."""
        projected = self.linear(features)
        return functional.leaky_relu(projected, SLOPE) if self.activation else projected


class Projections(Head):
    """One segmentation projection a level, and a detection projection whose unit features are averaged over patches."""

    reads = Reads()
    untrained_reads = Reads(surgery="values", projected=True, class_token="normed")

    def __init__(self, options: ProjectionsOptions, setting: HeadSetting) -> None:
        super().__init__()
        levels = {str(level): self._projection(options, setting, level) for level in setting.levels}
        self.segmentation = nn.ModuleDict(levels)
        self.detection = self._projection(options, setting, "detection")
        reach = 0.5 * TEMPERATURE * REACH
        self.shown = (len(levels) * (0.5 - reach), len(levels) * (0.5 + reach))

    def _projection(self, options: ProjectionsOptions, setting: HeadSetting, name: object) -> Projection:
        backbone = setting.backbone
        with setting.drawn(name):
            projection = Projection(backbone.vision.width, backbone.embedding_width, options.activation)
        if options.start == "backbone":
            with torch.no_grad():
                projection.linear.weight.copy_(setting.own_projection())
        return projection

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """Unit patch features of each level; the mean of the last one's unit detection features, as it is."""
        patches = {level: unit(self.segmentation[str(level)](of)) for level, of in tokens.levels.items()}
        return ImageFeatures(patches, unit(self.detection(tokens.levels[max(tokens.levels)])).mean(dim=1))

    def untrained_features(self, tokens: ImageTokens) -> ImageFeatures:
        """Unit patches of the backbone's own projection after surgery, with the unit class embedding added."""
        assert tokens.class_embedding is not None
        embedding = unit(tokens.class_embedding)
        return ImageFeatures({level: unit(of) + embedding[:, None] for level, of in tokens.levels.items()}, embedding)

    def for_text(self, features: ImageFeatures, embedding: Callable[[], Float[Tensor, "B E"]]) -> ImageFeatures:
        """The patches with the unit class embedding of the untouched backbone added."""
        added = unit(embedding())[:, None]
        return replace(features, levels={level: of + added for level, of in features.levels.items()})

    def level_probabilities(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int
    ) -> dict[int, Float[Tensor, "B 2 S S"]]:
        """Softmax at every pixel of the upsampled similarities."""
        assert text is not None
        return {level: softmax_maps(similarity_grid(of, text), size) for level, of in features.levels.items()}

    def detection_logits(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, "B 2"]:
        """The detection feature times the text feature."""
        assert features.detection is not None and text is not None
        return (features.detection.float()[..., None] * text.float()).sum(dim=1)

    def score(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int, domain: Domain, smooth: bool
    ) -> Scores:
        """Sum of the levels' grids, it bilinear to the image size, and (detection . abnormal + 1) / 2."""
        assert features.detection is not None and text is not None
        # Bilinear interpolation is linear: of the sum it is the sum of each level's, at a fraction of the work.
        grids = [level_grid(of, text, domain, smooth) for of in features.levels.values()]
        grid = torch.stack(grids).sum(dim=0)
        cosine = (features.detection.float() * text[..., 1].float()).sum(dim=-1)
        return Scores(grid, upsampled(grid[:, None], size)[:, 0], (cosine + 1) / 2)

    def map_probability(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """What the mean over the levels says as the softmax probability of "abnormal"."""
        return torch.sigmoid(2 * values / len(self.segmentation) - 1)


def similarity_grid(patches: Float[Tensor, "B N E"], text: Float[Tensor, "B E 2"]) -> Float[Tensor, "B 2 G G"]:
    """100 times the similarity of each patch to (normal, abnormal), in float32 even under autocast.

    The factor of 100 would turn the rounding of a half-precision product into half a logit.
    """
    side = round(patches.shape[1] ** 0.5)
    with torch.autocast(patches.device.type, enabled=False):
        similarity = TEMPERATURE * patches.float() @ text.float()
    return similarity.transpose(1, 2).unflatten(2, (side, side))


def level_grid(
    patches: Float[Tensor, "B N E"], text: Float[Tensor, "B E 2"], domain: Domain, smooth: bool = True
) -> Float[Tensor, "B G G"]:
    """((100 cos_abnormal) + 1 - (100 cos_normal)) / 2 of each patch, blurred."""
    normal, abnormal = similarity_grid(patches, text).unbind(dim=1)
    grid = (abnormal + 1 - normal) / 2
    return gaussian_blur(grid[:, None], *BLUR[domain])[:, 0] if smooth else grid
