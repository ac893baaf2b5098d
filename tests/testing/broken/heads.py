"""A plugin file of heads that each break one promise."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from aaclip_kit import (
    Head,
    ImageFeatures,
    ImageTokens,
    Options,
    Reads,
    Scores,
    gaussian_blur,
    hookimpl,
    softmax_maps,
    unit,
    upsampled,
)  # fmt: skip


class GoodOptions(Options):
    """A projection of each level, compared with the text."""


class Undocumented(Options):
    pass


class Good(Head):
    """Keeps every promise; the others differ from it in one."""

    reads = Reads(class_token="normed")

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()
        backbone = setting.backbone
        with setting.drawn("levels"):
            each = {str(level): nn.Linear(backbone.vision.width, backbone.embedding_width) for level in setting.levels}
        self.projections = nn.ModuleDict(each)

    def features(self, tokens: ImageTokens) -> ImageFeatures:
        assert tokens.class_embedding is not None
        levels = {level: unit(self.projections[str(level)](of)) for level, of in tokens.levels.items()}
        return ImageFeatures(levels, unit(tokens.class_embedding))

    def level_probabilities(self, features: ImageFeatures, text: Any, size: int) -> dict[int, Tensor]:
        return {level: softmax_maps(self.grid(of, text), size) for level, of in features.levels.items()}

    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        assert features.detection is not None
        return 5 * (features.detection.float()[..., None] * text.float()).sum(dim=1)

    def score(self, features: ImageFeatures, text: Any, size: int, domain: Any, smooth: bool) -> Any:
        grid = torch.stack([self.grid(of, text).softmax(dim=1) for of in features.levels.values()]).mean(dim=0)[:, 1:]
        grid = gaussian_blur(grid, 3, 1.0) if smooth else grid
        image = self.detection_logits(features, text).softmax(dim=1)[:, 1]
        return Scores(grid[:, 0], upsampled(grid, size)[:, 0], image)

    def grid(self, patches: Tensor, text: Tensor) -> Tensor:
        side = round(patches.shape[1] ** 0.5)
        with torch.autocast(patches.device.type, enabled=False):
            return (5 * patches.float() @ text.float()).transpose(1, 2).unflatten(2, (side, side))


class ReadsWords(Good):
    reads = "patches"  # type: ignore[assignment]


class MakesScores(Good):
    makes = frozenset({"level_probabilities", "scores"})  # type: ignore[arg-type]


class ShownUpsideDown(Good):
    shown = (1.0, 0.0)


class BareLevels(Good):
    def features(self, tokens: ImageTokens) -> Any:
        return super().features(tokens).levels


class LastLevelAlone(Good):
    def features(self, tokens: ImageTokens) -> ImageFeatures:
        every = super().features(tokens)
        return ImageFeatures({max(every.levels): every.levels[max(every.levels)]}, every.detection)


class LevelsSeeOneAnother(Good):
    def features(self, tokens: ImageTokens) -> ImageFeatures:
        mean = torch.stack([*tokens.levels.values()]).mean(dim=0)
        levels = {level: of + mean for level, of in tokens.levels.items()}
        return super().features(ImageTokens(levels, tokens.class_embedding))


class OtherWidthForText(Good):
    def for_text(self, features: ImageFeatures, embedding: Any) -> ImageFeatures:
        return ImageFeatures({level: of[..., :8] for level, of in features.levels.items()}, features.detection)


class OwnSize(Good):
    def level_probabilities(self, features: ImageFeatures, text: Any, size: int) -> dict[int, Tensor]:
        return super().level_probabilities(features, text, 32)


class FusesAllLevels(Good):
    def level_probabilities(self, features: ImageFeatures, text: Any, size: int) -> dict[int, Tensor]:
        shares = [float(level) * features.levels[level] for level in (2, 3, 4)]
        fused = ImageFeatures({4: unit(sum(shares[1:], shares[0]))})
        return super().level_probabilities(fused, text, size)


class AbnormalAlone(Good):
    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        return super().detection_logits(features, text)[:, 1]


class SqueezesOneImage(Good):
    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        return super().detection_logits(features, text).squeeze()


class NeedsTextAfterAll(Good):
    needs_text = False


class PromisesLogits(Good):
    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        return Head.detection_logits(self, features, text)


class TwoSigmoids(Good):
    def level_probabilities(self, features: ImageFeatures, text: Any, size: int) -> dict[int, Tensor]:
        return {level: upsampled(self.grid(of, text), size).sigmoid() for level, of in features.levels.items()}


class BareScores(Good):
    def score(self, features: ImageFeatures, text: Any, size: int, domain: Any, smooth: bool) -> Any:
        return super().score(features, text, size, domain, smooth).maps


class IndustryOnly(Good):
    def score(self, features: ImageFeatures, text: Any, size: int, domain: Any, smooth: bool) -> Any:
        return super().score(features, text, size, {"industrial": domain}[domain], smooth)


class Doubled(Good):
    def score(self, features: ImageFeatures, text: Any, size: int, domain: Any, smooth: bool) -> Any:
        scores = super().score(features, text, size, domain, smooth)
        return Scores(scores.grid, scores.maps.double(), scores.detection)


class SumOfLevels(Good):
    def map_probability(self, values: Tensor) -> Tensor:
        return 3 * values


class AcrossImages(Good):
    def features(self, tokens: ImageTokens) -> ImageFeatures:
        levels = {level: of - of.mean(dim=(0, 1)) for level, of in tokens.levels.items()}
        return super().features(ImageTokens(levels, tokens.class_embedding))


class BrightestOfTheBatch(Good):
    def score(self, features: ImageFeatures, text: Any, size: int, domain: Any, smooth: bool) -> Any:
        scores = super().score(features, text, size, domain, smooth)
        return Scores(scores.grid, scores.maps / scores.maps.amax(), scores.detection)


class OwnWords(Good):
    def grid(self, patches: Tensor, text: Tensor) -> Tensor:
        return super().grid(patches, torch.ones_like(text).cumsum(dim=1) / 10)

    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        return super().detection_logits(features, torch.ones_like(text).cumsum(dim=1) / 10)


class NormsTokensInPlace(Good):
    def features(self, tokens: ImageTokens) -> ImageFeatures:
        for of in tokens.levels.values():
            of /= of.norm(dim=-1, keepdim=True)
        return super().features(tokens)


class NormsTextInPlace(Good):
    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        text.mul_(0.5)
        return super().detection_logits(features, text)


class AlwaysDrops(Good):
    def grid(self, patches: Tensor, text: Tensor) -> Tensor:
        return super().grid(dropout(patches, 0.3), text)


class DetachesTokens(Good):
    def features(self, tokens: ImageTokens) -> ImageFeatures:
        assert tokens.class_embedding is not None
        levels = {level: of.detach() for level, of in tokens.levels.items()}
        return super().features(ImageTokens(levels, tokens.class_embedding.detach()))


class DetachesText(Good):
    def level_probabilities(self, features: ImageFeatures, text: Any, size: int) -> dict[int, Tensor]:
        return super().level_probabilities(features, text.detach(), size)

    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        return super().detection_logits(features, text.detach())


class NoGradient(Good):
    @torch.no_grad()
    def level_probabilities(self, features: ImageFeatures, text: Any, size: int) -> dict[int, Tensor]:
        return super().level_probabilities(features, text, size)

    @torch.no_grad()
    def detection_logits(self, features: ImageFeatures, text: Any) -> Tensor:
        return super().detection_logits(features, text)


class KeepsTheBackbone(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.backbone = setting.backbone


class ScalesTheBackbone(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        with torch.no_grad():
            setting.backbone.clip.visual.proj.mul_(2)


class UnusedParameter(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.spare = nn.Parameter(torch.zeros(3))


class TrainsForNothing(Good):
    makes = frozenset()


class PythonsChance(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.bias = nn.Parameter(torch.tensor(random.random()))

    def grid(self, patches: Tensor, text: Tensor) -> Tensor:
        return super().grid(patches, text) * self.bias


class PlainTensor(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.shift = torch.randn(setting.backbone.embedding_width)

    def grid(self, patches: Tensor, text: Tensor) -> Tensor:
        return super().grid(patches + self.shift, text)


class LosesDigits(Good):
    def grid(self, patches: Tensor, text: Tensor) -> Tensor:
        return super().grid((patches + 300) - 300, text)


class HalfMaps(Good):
    def score(self, features: ImageFeatures, text: Any, size: int, domain: Any, smooth: bool) -> Any:
        scores = super().score(features, text, size, domain, smooth)
        return Scores(scores.grid, scores.maps.to(next(iter(features.levels.values())).dtype), scores.detection)


class KnowsItsLevels(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        if setting.levels != (2, 3, 4):
            raise ValueError("three levels")


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "H1"),
    "no_head": (nn.Identity, GoodOptions, "H2"),
    "reads_words": (ReadsWords, GoodOptions, "H2"),
    "makes_scores": (MakesScores, GoodOptions, "H2"),
    "shown_upside_down": (ShownUpsideDown, GoodOptions, "H2"),
    "bare_levels": (BareLevels, GoodOptions, "H3"),
    "last_level_alone": (LastLevelAlone, GoodOptions, "H3"),
    "levels_see_one_another": (LevelsSeeOneAnother, GoodOptions, "H3"),
    "other_width_for_text": (OtherWidthForText, GoodOptions, "H3"),
    "own_size": (OwnSize, GoodOptions, "H4"),
    "fuses_all_levels": (FusesAllLevels, GoodOptions, "H4"),
    "abnormal_alone": (AbnormalAlone, GoodOptions, "H4"),
    "squeezes_one_image": (SqueezesOneImage, GoodOptions, "H4"),
    "needs_text_after_all": (NeedsTextAfterAll, GoodOptions, "H4"),
    "promises_logits": (PromisesLogits, GoodOptions, "H4"),
    "two_sigmoids": (TwoSigmoids, GoodOptions, "H5"),
    "bare_scores": (BareScores, GoodOptions, "H6"),
    "industry_only": (IndustryOnly, GoodOptions, "H6"),
    "doubled": (Doubled, GoodOptions, "H6"),
    "sum_of_levels": (SumOfLevels, GoodOptions, "H6"),
    "across_images": (AcrossImages, GoodOptions, "H9"),
    "brightest_of_the_batch": (BrightestOfTheBatch, GoodOptions, "H9"),
    "own_words": (OwnWords, GoodOptions, "H10"),
    "norms_tokens_in_place": (NormsTokensInPlace, GoodOptions, "H7"),
    "norms_text_in_place": (NormsTextInPlace, GoodOptions, "H7"),
    "always_drops": (AlwaysDrops, GoodOptions, "H8"),
    "detaches_tokens": (DetachesTokens, GoodOptions, "H11"),
    "detaches_text": (DetachesText, GoodOptions, "H11"),
    "no_gradient": (NoGradient, GoodOptions, "H11"),
    "keeps_the_backbone": (KeepsTheBackbone, GoodOptions, "H12"),
    "scales_the_backbone": (ScalesTheBackbone, GoodOptions, "H12"),
    "unused_parameter": (UnusedParameter, GoodOptions, "H13"),
    "trains_for_nothing": (TrainsForNothing, GoodOptions, "H13"),
    "pythons_chance": (PythonsChance, GoodOptions, "H14"),
    "plain_tensor": (PlainTensor, GoodOptions, "H15"),
    "loses_digits": (LosesDigits, GoodOptions, "H16"),
    "half_maps": (HalfMaps, GoodOptions, "H16"),
    "knows_its_levels": (KnowsItsLevels, GoodOptions, "H17"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_heads(register: Any) -> None:
    register("good", Good, GoodOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
