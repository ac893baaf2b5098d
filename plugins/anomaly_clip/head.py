"""The head `anomaly_clip`: softmax of patches after V-V attention beside the blocks, and of the class token."""

import torch
from jaxtyping import Float
from torch import Tensor

from aaclip_kit import (
    Domain,
    Head,
    HeadSetting,
    ImageFeatures,
    ImageTokens,
    Reads,
    Scores,
    gaussian_filter,
    unit,
    upsampled,
)

from . import AnomalyClipOptions


class AnomalyClip(Head):
    """Without parameters. Probabilities are made on the patch grid, then resized; the map is their sum over the levels.

    The image score is the class token's probability; the map plays no part in it.
    """

    def __init__(self, options: AnomalyClipOptions, setting: HeadSetting) -> None:
        super().__init__()
        self.reads = Reads(surgery="beside", projected=True, class_token=options.class_token)
        self.temperature, self.sigma = options.temperature, options.sigma
        self.levels = len(setting.levels)
        self.shown = (0.0, float(self.levels))

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """Unit patches, and the unit class embedding."""
        assert tokens.class_embedding is not None
        return ImageFeatures({level: unit(of) for level, of in tokens.levels.items()}, unit(tokens.class_embedding))

    def level_probabilities(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int
    ) -> dict[int, Float[Tensor, "B 2 S S"]]:
        """Softmax of each patch, bilinear to the image size, corners not aligned."""
        assert text is not None
        found = {}
        for level, patches in features.levels.items():
            # Interpolation keeps the sum of 1: one channel is resized, at half of the work.
            abnormal = upsampled(self._grid(patches, text)[:, None], size, align_corners=False)
            found[level] = torch.cat([1 - abnormal, abnormal], dim=1)
        return found

    def detection_logits(self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None) -> Float[Tensor, "B 2"]:
        """Cosines of the class embedding over the temperature."""
        assert features.detection is not None and text is not None
        return self._logits(features.detection[:, None], text)[:, 0]

    def score(
        self, features: ImageFeatures, text: Float[Tensor, "B E 2"] | None, size: int, domain: Domain, smooth: bool
    ) -> Scores:
        """Sum of the levels' abnormal probabilities, resized and blurred in pixels of the image."""
        assert text is not None
        grid = torch.stack([self._grid(patches, text) for patches in features.levels.values()]).sum(dim=0)
        maps = upsampled(grid[:, None], size, align_corners=False)[:, 0]
        if smooth:
            maps = gaussian_filter(maps, self.sigma)
        return Scores(grid, maps, self.detection_logits(features, text).softmax(dim=1)[:, 1])

    def map_probability(self, values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """The mean over the levels."""
        return values / self.levels

    def _grid(self, patches: Float[Tensor, "B N E"], text: Float[Tensor, "B E 2"]) -> Float[Tensor, "B G G"]:
        """Probability of "abnormal" of each patch."""
        side = round(patches.shape[1] ** 0.5)
        return self._logits(patches, text).softmax(dim=-1)[..., 1].unflatten(1, (side, side))

    def _logits(self, features: Float[Tensor, "B n E"], text: Float[Tensor, "B E 2"]) -> Float[Tensor, "B n 2"]:
        """In float32 even under autocast: the temperature would enlarge the rounding of a half-precision product."""
        with torch.autocast(features.device.type, enabled=False):
            return features.float() @ text.float() / self.temperature
