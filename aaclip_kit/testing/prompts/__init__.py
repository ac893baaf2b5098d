"""The checks of prompts, and what they share: prompts built for a tiny backbone, and the engine's walk of both."""

from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import Tensor

from ...contracts.backbone import Backbone
from ...contracts.prompts import Prompts, PromptSetting
from ...distributed.random_streams import drawn_for
from ...model.prompts import PromptBook
from ...model.stage_slots import StageSlots
from ...model.text_tower import TextSide
from ..parts import draw, stir, tiny_backbone
from ..subject import Subject

NAMES: Final = {"cloth": "red cloth", "nut": "metal nut", "board": "PCB 1"}
CLASSES: Final = ("cloth", "nut", "board")


@dataclass(frozen=True)
class Built:
    """Prompts, the backbone that they were built for, and the engine's walk of both."""

    prompts: Prompts
    backbone: Backbone
    text: TextSide

    def features(self, classes: tuple[str, ...] = CLASSES, embedding: Tensor | None = None) -> Tensor:
        """Compute the text features of classes, each with an image of its own where the prompts go by that."""
        if not self.text.goes_by_image:
            return self.text.class_features(classes)
        given = self.embedding(len(classes)) if embedding is None else embedding
        return self.text.own_features(classes, None, embedding=given)

    def embedding(self, images: int = len(CLASSES), seed: int = 2) -> Tensor:
        """Draw class embeddings of images."""
        return draw(images, self.backbone.embedding_width, seed=seed)


def build_prompts(subject: Subject, seed: int = 0) -> Built:
    """Build the prompts for a tiny backbone, and the tokens of a few classes."""
    backbone = tiny_backbone(subject)
    prompts = alone(subject, backbone, seed)
    book = PromptBook.of(backbone, prompts, NAMES)
    return Built(prompts, backbone, TextSide(backbone, StageSlots(), prompts, book, "unit"))


def alone(subject: Subject, backbone: Backbone, seed: int = 0) -> Prompts:
    """Build the prompts, and look at nothing that they make."""
    torch.manual_seed(seed)
    setting = PromptSetting(backbone=backbone, drawn=partial(drawn_for, seed, "prompts"))
    prompts: Prompts = subject.make(Prompts, setting)
    return prompts.eval()


def stirred(subject: Subject) -> Built:
    """Build them in evaluation mode with a little noise on every weight."""
    built = build_prompts(subject)
    stir(built.prompts)
    return built
