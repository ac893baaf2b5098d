"""Patches by their cosine to learnt vectors of each level; the image by its class token or by its patches."""

import math

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
    upsampled,
)  # fmt: skip

from . import TextFreeOptions


class TextFree(Head):
    """Vectors `[2, D]` of (normal, abnormal) for each level, and for the class embedding where that scores images."""

    needs_text = False

    def __init__(self, options: TextFreeOptions, setting: HeadSetting) -> None:
        super().__init__()
        self.temperature, self.sigma, self.image = options.temperature, options.sigma, options.image
        by_class, projected = options.image == "class_token", options.tokens == "projected"
        self.reads = Reads(
            normed=options.tokens != "raw", projected=projected, class_token="normed" if by_class else "none"
        )
        joint = setting.backbone.embedding_width
        width = joint if projected else setting.backbone.vision.width
        self.levels = nn.ParameterDict({str(level): _vectors(setting, level, width) for level in setting.levels})
        self.whole = _vectors(setting, "image", joint) if by_class else None

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """Unit patches of each level, and the unit class embedding where that scores images."""
        embedding = tokens.class_embedding
        levels = {level: unit(of) for level, of in tokens.levels.items()}
        return ImageFeatures(levels, None if embedding is None else unit(embedding))

    def level_probabilities(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int
    ) -> dict[int, Float[Tensor, "B 2 S S"]]:
        """Softmax at every pixel of the upsampled logits."""
        return {level: softmax_maps(grid, size) for level, grid in self._grids(features).items()}

    def detection_logits(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, "B 2"]:
        """Logits of the class embedding, or of all patches, or of the most abnormal one."""
        if self.whole is not None:
            assert features.detection is not None
            return self._logits(features.detection, self.whole)
        patches = torch.stack([*self._grids(features).values()]).mean(dim=0).flatten(2)
        if self.image == "mean":
            return patches.mean(dim=2)
        worst = (patches[:, 1] - patches[:, 0]).argmax(dim=1)
        return patches.take_along_dim(worst[:, None, None], dim=2)[..., 0]

    def score(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int, domain: Domain, smooth: bool
    ) -> Scores:
        """Mean of the levels' probabilities of "abnormal" on the patch grid, smoothed, then bilinear to `size`."""
        grid = torch.stack([of.softmax(dim=1)[:, 1] for of in self._grids(features).values()]).mean(dim=0)
        if smooth and self.sigma:
            grid = gaussian_filter(grid, self.sigma)
        detection = self.detection_logits(features, text).softmax(dim=1)[:, 1]
        return Scores(grid, upsampled(grid[:, None], size)[:, 0], detection)

    def _grids(self, features: ImageFeatures) -> dict[int, Float[Tensor, "B 2 G G"]]:
        """The logits of each level's patches."""
        return {level: _grid(self._logits(of, self.levels[str(level)])) for level, of in features.levels.items()}

    def _logits(self, items: Float[Tensor, "*items D"], vectors: Float[Tensor, "2 D"]) -> Float[Tensor, "*items 2"]:
        """Temperature times the cosines, in float32: the factor would magnify what rounding under autocast leaves."""
        with torch.autocast(items.device.type, enabled=False):
            return self.temperature * items.float() @ unit(vectors.float()).T


def _vectors(setting: HeadSetting, name: object, width: int) -> nn.Parameter:
    """Two vectors in random directions, of about unit length, so that one learning rate suits every width."""
    with setting.drawn(name):
        return nn.Parameter(torch.randn(2, width) / math.sqrt(width))


def _grid(values: Float[Tensor, "B N 2"]) -> Float[Tensor, "B 2 G G"]:
    side = round(values.shape[1] ** 0.5)
    return values.transpose(1, 2).unflatten(2, (side, side))
