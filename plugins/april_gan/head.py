"""Linear layers on raw patch tokens, the sum of the levels' maps, and the class token's score (docs/guide/methods.md).

Source: Chen, Han and Zhang, APRIL-GAN: a zero-/few-shot anomaly classification and segmentation method for CVPR 2023
VAND workshop challenge tracks 1 and 2.
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from aaclip_kit import (
    Domain,
    Head,
    HeadSetting,
    ImageFeatures,
    ImageTokens,
    Reads,
    Scores,
    gaussian_filter,
    softmax_maps,
    unit,
)  # fmt: skip

from . import AprilGanOptions

TABLE: Final = "trainable_linearlayer"
"""The one table of a published checkpoint; its layers are numbered in the order of the levels."""


class AprilGan(Head):
    """A linear layer with bias a level, on the stream as it leaves the block; image scores by the class token alone."""

    reads = Reads(normed=False, class_token="normed")
    untrained_reads = Reads(projected=True, class_token="normed")

    def __init__(self, options: AprilGanOptions, setting: HeadSetting) -> None:
        super().__init__()
        self.temperature, self.sigma = options.temperature, options.sigma
        self.layers = nn.ModuleDict({str(level): _layer(setting, level) for level in setting.levels})
        self.shown = (0.0, float(len(self.layers)))

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """Unit patch features of each level, and the unit class embedding."""
        return _unit({level: self.layers[str(level)](of) for level, of in tokens.levels.items()}, tokens)

    def untrained_features(self, tokens: ImageTokens) -> ImageFeatures:
        """The same with the backbone's own projection in the place of every layer."""
        return _unit(tokens.levels, tokens)

    def level_probabilities(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int
    ) -> dict[int, Float[Tensor, "B 2 S S"]]:
        """Softmax at every pixel of the upsampled similarities."""
        return {level: softmax_maps(grid, size) for level, grid in self._similarity(features, text).items()}

    def detection_logits(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, "B 2"]:
        """The class embedding's similarity to the text feature."""
        assert features.detection is not None and text is not None
        return self.temperature * (features.detection.float()[..., None] * text.float()).sum(dim=1)

    def score(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int, domain: Domain, smooth: bool
    ) -> Scores:
        """Sum of the levels' probabilities of "abnormal", and the class embedding's."""
        grids = self._similarity(features, text).values()
        grid = torch.stack([of.softmax(dim=1)[:, 1] for of in grids]).sum(dim=0)
        maps = torch.stack([softmax_maps(of, size)[:, 1] for of in grids]).sum(dim=0)
        if smooth and self.sigma:
            maps = gaussian_filter(maps, self.sigma)
        return Scores(grid, maps, self.detection_logits(features, text).softmax(dim=1)[:, 1])

    def map_probability(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The mean over the levels."""
        return values / len(self.layers)

    def published_names(self) -> dict[str, str]:
        """Weight and bias of each layer, by its number among the levels."""
        kinds = ("weight", "bias")
        return {f"layers.{level}.{k}": f"{TABLE}.fc.{n}.{k}" for n, level in enumerate(self.layers) for k in kinds}

    def _similarity(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None
    ) -> dict[int, Float[Tensor, "B 2 G G"]]:
        """The logits of each level, in float32: the factor would magnify what rounding under autocast leaves."""
        assert text is not None
        with torch.autocast(text.device.type, enabled=False):
            levels = {level: self.temperature * of.float() @ text.float() for level, of in features.levels.items()}
        return {level: _grid(of) for level, of in levels.items()}


def _layer(setting: HeadSetting, level: int) -> nn.Linear:
    with setting.drawn(level):
        return nn.Linear(setting.backbone.vision.width, setting.backbone.embedding_width)


def _unit(levels: dict[int, Tensor], tokens: ImageTokens) -> ImageFeatures:
    assert tokens.class_embedding is not None
    return ImageFeatures({level: unit(of) for level, of in levels.items()}, unit(tokens.class_embedding))


def _grid(values: Float[Tensor, "B N 2"]) -> Float[Tensor, "B 2 G G"]:
    side = round(values.shape[1] ** 0.5)
    return values.transpose(1, 2).unflatten(2, (side, side))
