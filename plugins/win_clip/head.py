"""Scores of windows against text, aggregated by harmonic means to one map (docs/guide/methods.md)."""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import fold

from aaclip_kit import Domain, Head, HeadSetting, ImageFeatures, ImageTokens, Reads, Scores, unit, upsampled

from . import WinClipOptions

REACH: Final = 0.1
"""How far the cosines to abnormal and to normal are apart where the colours of a picture end."""


class WinClip(Head):
    """Probabilities of "abnormal" of the whole image and of windows, and their harmonic mean at each patch.

    Nothing in it trains. The map is never blurred.
    """

    def __init__(self, options: WinClipOptions, setting: HeadSetting) -> None:
        super().__init__()
        self.reads = Reads(projected=True, class_token="normed", windows=options.scales)
        self.temperature, self.grid = options.temperature, setting.backbone.grid
        reach = torch.tensor([-REACH, REACH]) / options.temperature
        self.shown = (float(reach.sigmoid()[0]), float(reach.sigmoid()[1]))

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """The embeddings as they are."""
        return ImageFeatures(tokens.levels, tokens.class_embedding, tokens.windows)

    def detection_logits(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, "B 2"]:
        """Cosines of the image embedding to (normal, abnormal), over the temperature."""
        assert features.detection is not None and text is not None
        return cosines(features.detection, text) / self.temperature

    def level_probabilities(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int
    ) -> dict[int, Float[Tensor, "B 2 S S"]]:
        """The multi-scale map at the image size, under the last level."""
        abnormal = upsampled(self.multi_scale_map(features, text)[:, None], size, align_corners=False)
        return {max(features.levels): torch.cat([1 - abnormal, abnormal], dim=1)}

    def score(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int, domain: Domain, smooth: bool
    ) -> Scores:
        """The multi-scale map, it bilinear to the image size, and the probability of the image embedding."""
        grid = self.multi_scale_map(features, text)
        return Scores(grid, upsampled(grid[:, None], size, align_corners=False)[:, 0], self.image_score(features, text))

    def image_score(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, " B"]:
        """Probability of "abnormal" of the image embedding."""
        return abnormal_probability(self.detection_logits(features, text))

    def window_scores(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None
    ) -> dict[int, Float[Tensor, "B W"]]:
        """Probability of "abnormal" of each window, by side."""
        assert features.windows is not None and text is not None
        logits = {side: cosines(one, text) / self.temperature for side, one in features.windows.items()}
        return {side: abnormal_probability(one) for side, one in logits.items()}

    def multi_scale_map(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, "B G G"]:
        """Harmonic mean, at each patch, of the image's score and of the map of each side."""
        maps = [window_map(scores, self.grid, side) for side, scores in self.window_scores(features, text).items()]
        whole = self.image_score(features, text)[:, None, None].expand_as(maps[0])
        return harmonic_mean(torch.stack([whole, *maps]))


def cosines(embeddings: Float[Tensor, "B *W E"], text: Float[Tensor, "B E 2"]) -> Float[Tensor, "B *W 2"]:
    """Cosines to (normal, abnormal), in float32 even under autocast: scores near one half differ by little."""
    rows = embeddings.unsqueeze(1) if embeddings.ndim == 2 else embeddings
    with torch.autocast(embeddings.device.type, enabled=False):
        found = unit(rows.float()) @ unit(text.float().mT).mT
    return found.reshape(*embeddings.shape[:-1], 2)


def abnormal_probability(logits: Float[Tensor, "*items 2"]) -> Float[Tensor, "*items"]:
    """Softmax over (normal, abnormal), the second."""
    return torch.sigmoid(logits[..., 1] - logits[..., 0])


def window_map(scores: Float[Tensor, "B W"], grid: int, side: int) -> Float[Tensor, "B G G"]:
    """Harmonic mean, at each patch, of the windows that hold it."""
    inverse = torch.stack([1 / scores, torch.ones_like(scores)], dim=1)[:, :, None].expand(-1, -1, side * side, -1)
    total, windows = fold(inverse.flatten(1, 2), (grid, grid), side).unbind(dim=1)
    return windows / total


def harmonic_mean(values: Float[Tensor, "maps *items"]) -> Float[Tensor, "*items"]:
    """Number of values over the sum of their inverses; 0 where one of them is."""
    return len(values) / (1 / values).sum(dim=0)
