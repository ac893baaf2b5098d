"""The checks of a head, and what they share: a head built for a tiny backbone, and what is read of drawn images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from ...contracts.backbone import Backbone
from ...contracts.data import Domain
from ...contracts.head import Head, HeadSetting, ImageFeatures, ImageTokens, Reads, Scores
from ...distributed.random_streams import drawn_for
from ...kernels.maps import unit
from ...model.image_tower import ImageSide, parts_of, tokens_of
from ...model.stage_slots import StageSlots
from ..parts import draw, stir, tiny_backbone
from ..subject import Breach, Subject

LEVELS: Final = (2, 3, 4)
IMAGES: Final = 3
PREDICTIONS: Final = ("level_probabilities", "detection_logits")


@dataclass(frozen=True)
class Built:
    """A head, the backbone that it was built for, and what is read of that."""

    head: Head
    backbone: Backbone

    @property
    def size(self) -> int:
        """Side of an image."""
        return self.backbone.image_size

    def tokens(self, images: int = IMAGES, seed: int = 2, reads: Reads | None = None) -> ImageTokens:
        """Read drawn images as the head says, or as `reads` does."""
        pictures = draw(images, 3, self.size, self.size, seed=seed)
        side = ImageSide(self.backbone, StageSlots(), LEVELS, "tokens")
        return side.untouched(pictures, reads or self.head.reads, LEVELS)

    def text(self, images: int = IMAGES, seed: int = 3) -> Tensor | None:
        """Draw a text feature for each image, if the head needs any."""
        if not self.head.needs_text:
            return None
        return unit(draw(images, 2, self.backbone.embedding_width, seed=seed)).transpose(1, 2)

    def predictions(self, features: ImageFeatures, text: Tensor | None) -> dict[str, Tensor]:
        """Make all that the head makes; maps of levels are named like "level_probabilities[3]"."""
        made: dict[str, Tensor] = {}
        if "level_probabilities" in self.head.makes:
            maps = self.head.level_probabilities(features, text, self.size)
            made = {f"level_probabilities[{level}]": of for level, of in maps.items()}
        if "detection_logits" in self.head.makes:
            made["detection_logits"] = self.head.detection_logits(features, text)
        return made

    def score(self, features: ImageFeatures, text: Tensor | None, domain: Domain, smooth: bool) -> Scores:
        """Score. Raises `Breach` for what are no Scores."""
        scores = self.head.score(features, text, self.size, domain, smooth)
        if not isinstance(scores, Scores):
            raise Breach(f"score gave {type(scores).__name__}, no Scores")
        return scores

    def everything(self, tokens: ImageTokens, text: Tensor | None) -> dict[str, Tensor]:
        """All predictions and scores of images, by name."""
        features = self.head.features(tokens)
        scores = self.score(features, text, "industrial", True)
        return {**self.predictions(features, text), "maps": scores.maps, "detection": scores.detection}


def build_head(subject: Subject, seed: int = 0) -> Built:
    """Build the head for a tiny backbone, and see that its `reads` can be read."""
    backbone = tiny_backbone(subject)
    torch.manual_seed(seed)
    setting = HeadSetting(backbone=backbone, levels=LEVELS, drawn=partial(drawn_for, seed, "head"))
    head: Head = subject.make(Head, setting)
    if not isinstance(getattr(head, "reads", None), Reads) or not isinstance(head.untrained_reads, Reads | None):
        raise Breach(f"its reads are {getattr(head, 'reads', None)!r} and {head.untrained_reads!r}, which are no Reads")
    return Built(head.eval(), backbone)


def stirred(subject: Subject) -> Built:
    """Build it in evaluation mode with a little noise on every weight."""
    built = build_head(subject)
    stir(built.head)
    return built


def each(one: ImageTokens, other: ImageTokens, change: Callable[[Tensor, Tensor], Tensor]) -> ImageTokens:
    """Each tensor of one, and the same of another, changed."""
    parts, others = parts_of(one), parts_of(other)
    return tokens_of({name: change(part, others[name]) for name, part in parts.items()}, tuple(one.levels))
