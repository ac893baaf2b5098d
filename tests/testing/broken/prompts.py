"""A plugin file of prompts that each break one promise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from aaclip_kit import Options, Prompts, hookimpl, text_tower, unit


class GoodOptions(Options):
    """Three prompts with two learnt tokens, moved by the image."""


class Undocumented(Options):
    pass


class Good(Prompts):
    """Keeps every promise; the others differ from it in one."""

    normal_prompts = 2

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()
        self.conditioned_from = 1
        width = text_tower(setting.backbone).width
        with setting.drawn("own"):
            self.learnt = nn.Parameter(0.1 * torch.randn(2, width))
            self.own = nn.Linear(setting.backbone.embedding_width, width)

    def prompts(self, real_name: str) -> Sequence[str]:
        return [f"a {real_name}.", f"a fine {real_name}.", f"a broken {real_name}, and more."]

    def before_block(self, block: int, tokens: Tensor, image: Tensor | None) -> Tensor:
        if block == 0:
            tokens = torch.cat([tokens[:, :1], tokens[:, 1:3] + self.learnt, tokens[:, 3:]], dim=1)
        return tokens if image is None else tokens + self.moved_by(image)[:, None]

    def moved_by(self, image: Tensor) -> Tensor:
        return self.own(image)

    def combine(self, features: Tensor) -> Tensor:
        one = unit(features)
        return unit(torch.stack([one[:, :2].mean(dim=1), one[:, 2:].mean(dim=1)], dim=1)).transpose(1, 2)


class OneText(Good):
    def prompts(self, real_name: str) -> Sequence[str]:
        return f"a {real_name}."


class MoreForLongNames(Good):
    def prompts(self, real_name: str) -> Sequence[str]:
        return [*super().prompts(real_name), *(f"a worn {word}." for word in real_name.split())][
            : 3 + len(real_name) // 9
        ]


class AllNormal(Good):
    normal_prompts = 3


class OtherWordsEachTime(Good):
    def prompts(self, real_name: str) -> Sequence[str]:
        return [*super().prompts(real_name)[:2], f"a broken {real_name} {random.random()}."]


class DropsAToken(Good):
    def before_block(self, block: int, tokens: Tensor, image: Tensor | None) -> Tensor:
        return super().before_block(block, tokens, image)[:, :-1]


class NeedsAnImage(Good):
    def before_block(self, block: int, tokens: Tensor, image: Tensor | None) -> Tensor:
        return tokens if block < 1 else tokens + self.own(image)[:, None]


class StatesFirst(Good):
    def combine(self, features: Tensor) -> Tensor:
        return super().combine(features).transpose(1, 2)


class ForOneClass(Good):
    def combine(self, features: Tensor) -> Tensor:
        return super().combine(features)[:1]


class Infinite(Good):
    def combine(self, features: Tensor) -> Tensor:
        return super().combine(features) / 0


class AddsInPlace(Good):
    def before_block(self, block: int, tokens: Tensor, image: Tensor | None) -> Tensor:
        tokens[:, 1:3] += self.learnt
        return super().before_block(block, tokens, image)


class NormsInPlace(Good):
    def combine(self, features: Tensor) -> Tensor:
        features /= features.norm(dim=-1, keepdim=True)
        return super().combine(features)


class AcrossClasses(Good):
    def combine(self, features: Tensor) -> Tensor:
        return super().combine(features - 0.5 * features.mean(dim=(0, 1)))


class AcrossImages(Good):
    def moved_by(self, image: Tensor) -> Tensor:
        return self.own(image - image.mean(dim=0))


class OverlooksTheImage(Good):
    def moved_by(self, image: Tensor) -> Tensor:
        return self.own(torch.zeros_like(image))


class NoSuchBlock(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.conditioned_from = 7


class ReadsThePadding(Good):
    def before_block(self, block: int, tokens: Tensor, image: Tensor | None) -> Tensor:
        return super().before_block(block, tokens + 0.1 * tokens.mean(dim=1, keepdim=True), image)


class AlwaysDrops(Good):
    def combine(self, features: Tensor) -> Tensor:
        return super().combine(dropout(features, 0.3))


class KeepsTheBackbone(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.backbone = setting.backbone


class ScalesTheBackbone(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        with torch.no_grad():
            setting.backbone.clip.token_embedding.weight.mul_(1.5)


class UnusedParameter(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.spare = nn.Parameter(torch.zeros(3))


class PythonsChance(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.learnt = nn.Parameter(self.learnt.detach() * random.random())


class PlainTensor(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.shift = torch.randn(setting.backbone.embedding_width)

    def combine(self, features: Tensor) -> Tensor:
        return super().combine(features + self.shift)


class LosesDigits(Good):
    def combine(self, features: Tensor) -> Tensor:
        return super().combine((features + 300) - 300)


class KnowsItsNames(Good):
    def prompts(self, real_name: str) -> Sequence[str]:
        known = {"red cloth": "cloth", "metal nut": "nut", "PCB 1": "board"}
        return super().prompts(known[real_name])


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "P1"),
    "no_prompts": (nn.Identity, GoodOptions, "P2"),
    "one_text": (OneText, GoodOptions, "P2"),
    "more_for_long_names": (MoreForLongNames, GoodOptions, "P2"),
    "all_normal": (AllNormal, GoodOptions, "P2"),
    "other_words_each_time": (OtherWordsEachTime, GoodOptions, "P2"),
    "drops_a_token": (DropsAToken, GoodOptions, "P3"),
    "needs_an_image": (NeedsAnImage, GoodOptions, "P3"),
    "states_first": (StatesFirst, GoodOptions, "P3"),
    "for_one_class": (ForOneClass, GoodOptions, "P3"),
    "infinite": (Infinite, GoodOptions, "P3"),
    "adds_in_place": (AddsInPlace, GoodOptions, "P4"),
    "norms_in_place": (NormsInPlace, GoodOptions, "P4"),
    "across_classes": (AcrossClasses, GoodOptions, "P6"),
    "across_images": (AcrossImages, GoodOptions, "P7"),
    "overlooks_the_image": (OverlooksTheImage, GoodOptions, "P8"),
    "no_such_block": (NoSuchBlock, GoodOptions, "P8"),
    "reads_the_padding": (ReadsThePadding, GoodOptions, "P9"),
    "always_drops": (AlwaysDrops, GoodOptions, "P5"),
    "keeps_the_backbone": (KeepsTheBackbone, GoodOptions, "P10"),
    "scales_the_backbone": (ScalesTheBackbone, GoodOptions, "P10"),
    "unused_parameter": (UnusedParameter, GoodOptions, "P11"),
    "pythons_chance": (PythonsChance, GoodOptions, "P12"),
    "plain_tensor": (PlainTensor, GoodOptions, "P13"),
    "loses_digits": (LosesDigits, GoodOptions, "P14"),
    "knows_its_names": (KnowsItsNames, GoodOptions, "P15"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_prompts(register: Any) -> None:
    register("good", Good, GoodOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
