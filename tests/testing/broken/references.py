"""A plugin file of references that each break one promise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from aaclip_kit import (
    Answer,
    Bank,
    ImageTokens,
    NormalScores,
    Options,
    Reads,
    Reference,
    Scores,
    gaussian_filter,
    hookimpl,
    nearest,
    upsampled,
)  # fmt: skip


class GoodOptions(Options):
    """The nearest patch of the last level, in units of the mean distance between images."""


class Undocumented(Options):
    pass


class Good(Reference):
    """Keeps every promise; the others differ from it in one."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()
        self.reads, self.levels = Reads(), setting.levels[-1:]

    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Any:
        kept = [] if bank is None else [*bank["patches"]]
        kept += [one for tokens in images for one in tokens.levels[self.levels[0]].float()]
        return {"patches": torch.stack(sorted(kept, key=self.rank))}

    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        return nearest(patches.flatten(0, 1), bank["patches"].flatten(0, 1)).unflatten(0, patches.shape[:2])

    def answer(self, bank: Bank, tokens: ImageTokens) -> Any:
        found = self.distances(bank, tokens.levels[self.levels[0]])
        side = round(found.shape[1] ** 0.5)
        return Answer(found.unflatten(1, (side, side)), found.amax(dim=1))

    def combine(self, scores: Scores, answer: Answer, *, bank: Bank, normal: NormalScores, smooth: bool) -> Any:
        maps = upsampled(answer.grid[:, None], scores.maps.shape[-1])[:, 0]
        maps = gaussian_filter(maps, 2.0) if smooth else maps
        return Scores(scores.grid + answer.grid, scores.maps + maps, scores.detection + answer.detection)


class HasWeights(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.scale = nn.Parameter(torch.ones(1))


class ReadsNothing(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.reads = None  # type: ignore[assignment]


class LevelsFromNought(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.levels = (0, *self.levels)


class DependsOnAThing(Good):
    bank_depends_on = {"what": object()}  # type: ignore[dict-item]  # noqa: RUF012


class NoTensors(Good):
    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Any:
        return {"patches": super().fill(images, bank)["patches"].tolist()}


class FirstComeFirstKept(Good):
    @staticmethod
    def rank(numbers: Tensor) -> bytes:
        return b""


class ForgetsTheBank(Good):
    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Any:
        return super().fill(images)


class BelowNought(Good):
    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        return super().distances(bank, patches) - 0.5


class OneForAll(Good):
    def answer(self, bank: Bank, tokens: ImageTokens) -> Any:
        answer = super().answer(bank, tokens)
        return Answer(answer.grid, answer.detection.mean(dim=0))


class CallsItsOwnFar(Good):
    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        return 2 - super().distances(bank, patches)


class StretchesOverTheBatch(Good):
    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        found = super().distances(bank, patches)
        return found / (1e-3 + found.amax())


class ScoresByTheHead(Good):
    def combine(self, scores: Scores, answer: Answer, **named: Any) -> Any:
        combined = super().combine(scores, answer, **named)
        return Scores(combined.grid, combined.maps, scores.detection)


class OfOneSize(Good):
    def combine(self, scores: Scores, answer: Answer, **named: Any) -> Any:
        combined = super().combine(scores, answer, **named)
        return Scores(combined.grid, combined.grid, combined.detection)


class WritesIntoTheBank(Good):
    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        bank["patches"].mul_(0.5)
        return super().distances(bank, patches)


class GoesByTorchsSeed(Good):
    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        drawn = torch.rand((), generator=torch.Generator().manual_seed(torch.initial_seed()))
        return super().distances(bank, patches) * (1 + drawn)


class KeepsItAtHand(Good):
    def fill(self, images: Iterable[ImageTokens], bank: Bank | None = None) -> Any:
        filled = super().fill(images, bank)
        self.spread = 1 + float(filled["patches"].std())
        return filled

    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        return super().distances(bank, patches) * getattr(self, "spread", 1.0)


class KeepsTheBackbone(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.backbone = setting.backbone


class ScalesTheBackbone(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        with torch.no_grad():
            next(setting.backbone.parameters()).mul_(1.5)


class SquaresInHalf(Good):
    def distances(self, bank: Bank, patches: Tensor) -> Tensor:
        far = torch.cdist(patches.float(), bank["patches"].flatten(0, 1).float()).amin(dim=2)
        return far if patches.dtype == torch.float32 else far * 1.2


class NoiseInARun(Good):
    def combine(self, scores: Scores, answer: Answer, *, bank: Bank, normal: NormalScores, smooth: bool) -> Any:
        combined = super().combine(scores, answer, bank=bank, normal=normal, smooth=smooth)
        if normal.grid_mean == 0.4:
            return combined
        return Scores(combined.grid, combined.maps * torch.rand_like(combined.maps), combined.detection)


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "R1"),
    "has_weights": (HasWeights, GoodOptions, "R2"),
    "reads_nothing": (ReadsNothing, GoodOptions, "R2"),
    "levels_from_nought": (LevelsFromNought, GoodOptions, "R2"),
    "depends_on_a_thing": (DependsOnAThing, GoodOptions, "R2"),
    "no_tensors": (NoTensors, GoodOptions, "R3"),
    "first_come_first_kept": (FirstComeFirstKept, GoodOptions, "R4"),
    "forgets_the_bank": (ForgetsTheBank, GoodOptions, "R4"),
    "below_nought": (BelowNought, GoodOptions, "R5"),
    "one_for_all": (OneForAll, GoodOptions, "R5"),
    "calls_its_own_far": (CallsItsOwnFar, GoodOptions, "R6"),
    "stretches_over_the_batch": (StretchesOverTheBatch, GoodOptions, "R7"),
    "scores_by_the_head": (ScoresByTheHead, GoodOptions, "R8"),
    "of_one_size": (OfOneSize, GoodOptions, "R8"),
    "writes_into_the_bank": (WritesIntoTheBank, GoodOptions, "R9"),
    "goes_by_torchs_seed": (GoesByTorchsSeed, GoodOptions, "R10"),
    "keeps_it_at_hand": (KeepsItAtHand, GoodOptions, "R11"),
    "keeps_the_backbone": (KeepsTheBackbone, GoodOptions, "R2"),
    "scales_the_backbone": (ScalesTheBackbone, GoodOptions, "R12"),
    "squares_in_half": (SquaresInHalf, GoodOptions, "R13"),
    "noise_in_a_run": (NoiseInARun, GoodOptions, "R14"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_references(register: Any) -> None:
    register("good", Good, GoodOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
