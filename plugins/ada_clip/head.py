"""The head `ada_clip`: linear layers on raw patches and on the image, maps of their mean, and the fused image score."""

from functools import partial
from itertools import repeat

import numpy as np
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
    UserError,
    gaussian_filter,
    softmax_maps,
    unit,
)

from . import HeadOptions
from .fusion import Fused, fuse
from .prompt_tokens import PUBLISHED

Text = Float[Tensor, "B E 2"] | None
Maps = Float[Tensor, "B 2 S S"]


class AdaClipHead(Head):
    """A linear layer a level, one for the class embedding. Raises `UserError` for more clusters than patches."""

    reads = Reads(normed=False, class_token="normed")
    untrained_reads = Reads(projected=True, class_token="normed")

    def __init__(self, options: HeadOptions, setting: HeadSetting) -> None:
        super().__init__()
        self.options, backbone = options, setting.backbone
        most = min(options.patches, backbone.grid**2)
        if options.fusion and options.clusters > most:
            problem, fix = f"{options.clusters} clusters of {most} patches", f"choose 1 to {most}, or more patches"
            raise UserError(problem, where="head.clusters", fix=f"{fix} (an image has {backbone.grid**2})")
        linear = partial(nn.Linear, out_features=backbone.embedding_width)
        self.patches = nn.ModuleDict()
        for level in setting.levels:
            with setting.drawn(level):
                self.patches[str(level)] = linear(backbone.vision.width)
        with setting.drawn("image"):
            self.image = linear(backbone.embedding_width)

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        """Unit patches of each level, and the unit feature of the image."""
        assert tokens.class_embedding is not None
        patches = {level: unit(self.patches[str(level)](of)) for level, of in tokens.levels.items()}
        with torch.autocast(tokens.class_embedding.device.type, enabled=False):
            return ImageFeatures(patches, unit(self.image(tokens.class_embedding.float())))

    def untrained_features(self, tokens: ImageTokens) -> ImageFeatures:
        """The same of the backbone's own projection."""
        assert tokens.class_embedding is not None
        return ImageFeatures({level: unit(of) for level, of in tokens.levels.items()}, unit(tokens.class_embedding))

    def level_probabilities(
        self, features: ImageFeatures, text: Text, size: int
    ) -> dict[int, Float[Tensor, "B 2 S S"]]:
        """Softmax at every pixel of the upsampled similarities."""
        logits = {level: self.logits(of, text) for level, of in features.levels.items()}
        return {level: softmax_maps(_grid(of), size) for level, of in logits.items()}

    def detection_logits(self, features: ImageFeatures, text: Text) -> Float[Tensor, "B 2"]:
        """The image's feature, with its share of the fused patches, times the text feature."""
        assert features.detection is not None
        image, share = features.detection.float(), self.options.fusion
        if share:
            image = unit(share * self.fused(features, text).feature + (1 - share) * image)
        return self.logits(image[:, None], text)[:, 0]

    def score(self, features: ImageFeatures, text: Text, size: int, domain: Domain, smooth: bool) -> Scores:
        """Softmax of the levels' mean, blurred at the image size; and of the detection logits."""
        grid = _grid(self.mean_logits(features, text))
        maps = softmax_maps(grid, size)[:, 1]
        maps = gaussian_filter(maps, self.options.sigma) if smooth else maps
        return Scores(grid.softmax(dim=1)[:, 1], maps, self.detection_logits(features, text).softmax(dim=1)[:, 1])

    def fused(self, features: ImageFeatures, text: Text) -> Fused:
        """Return what the most abnormal patches come to."""
        options, levels = self.options, torch.stack([of.float() for of in features.levels.values()], dim=1)
        abnormal = self.mean_logits(features, text).softmax(dim=-1)[..., 1]
        randoms = repeat(None) if options.start == "first" else map(np.random.RandomState, repeat(options.seed))
        return fuse(levels, abnormal, options.patches, options.clusters, randoms)

    def mean_logits(self, features: ImageFeatures, text: Text) -> Float[Tensor, "B N 2"]:
        """Return each patch's logits of (normal, abnormal), averaged over the levels."""
        return torch.stack([self.logits(of, text) for of in features.levels.values()]).mean(dim=0)

    def logits(self, features: Float[Tensor, "B n E"], text: Text) -> Float[Tensor, "B n 2"]:
        """Scaled cosines, in float32 even under autocast, whose rounding the scale would enlarge."""
        assert text is not None
        with torch.autocast(features.device.type, enabled=False):
            return self.options.scale * features.float() @ text.float()

    def published_names(self) -> dict[str, str]:
        """Keys of AdaCLIP's checkpoints."""
        heads = {f"patches.{level}": f"patch_token_layer.head.{place}" for place, level in enumerate(self.patches)}
        heads["image"] = "cls_token_layer.head.0"
        kinds = ("weight", "bias")
        return {f"{own}.{kind}": f"{PUBLISHED}{key}.{kind}" for own, key in heads.items() for kind in kinds}


def _grid(logits: Float[Tensor, "B N 2"]) -> Float[Tensor, "B 2 G G"]:
    side = round(logits.shape[1] ** 0.5)
    return logits.transpose(1, 2).unflatten(2, (side, side))
