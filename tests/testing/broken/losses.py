"""A plugin file of losses that each break one promise."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from aaclip_kit import Loss, Options, hookimpl
from aaclip_kit.contracts.loss import LossInput


class GoodOptions(Options):
    """Mean squared error of the abnormal channel."""


class Undocumented(Options):
    pass


class Good(Loss):
    """Keeps every promise; the others differ from it in one."""

    needs: ClassVar[tuple[LossInput, ...]] = ("level_probabilities", "masks")

    def __init__(self, options: Any) -> None:
        super().__init__()

    def forward(self, **named: Any) -> Any:
        terms = [self.term(found[:, 1:].float(), named["masks"]) for found in named["level_probabilities"].values()]
        return {"squared": torch.stack(terms).mean()}

    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return (found - masks).square().mean()


class NoNeeds(Good):
    needs = ()


class UnknownNeed(Good):
    needs = ("level_probabilities", "mask")  # type: ignore[assignment]


class TargetsOnly(Good):
    needs = ("masks", "labels")


class OwnWeight(Good):
    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.temperature = nn.Parameter(torch.ones(()))


class BareTensor(Good):
    def forward(self, **named: Any) -> Any:
        return super().forward(**named)["squared"]


class AnImageATerm(Good):
    def forward(self, **named: Any) -> Any:
        maps = named["level_probabilities"].values()
        return {"squared": sum((found[:, 1:] - named["masks"]).square().mean(dim=(1, 2, 3)) for found in maps)}


class Plain(Good):
    def forward(self, **named: Any) -> Any:
        return {name: float(value) for name, value in super().forward(**named).items()}


class BareLogarithm(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return -(masks * found.log() + (1 - masks) * (1 - found).log()).mean()


class MeanOfAnomalous(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return (found - masks)[masks > 0].square().mean()


class RootAtZero(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return (found - masks).square().sqrt().mean()


class SqueezesTheBatch(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        one, other = found.squeeze(), masks.squeeze()
        return (one - other).square().mean(dim=(1, 2)).sum()


class KnowsItsLevels(Good):
    def forward(self, **named: Any) -> Any:
        named["level_probabilities"] = {1: named["level_probabilities"][1]}
        return super().forward(**named)


class Thresholds(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return super().term((found > 0.5).float(), masks)


class FillsTheMasks(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return super().term(found, masks.clamp_(0.1, 0.9))


class CountsCalls(Good):
    calls = 0

    def forward(self, **named: Any) -> Any:
        self.calls += 1
        return {name: value * self.calls for name, value in super().forward(**named).items()}


class Samples(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        chosen = torch.rand(found.shape) < 0.5
        return (found - masks).square()[chosen].sum()


class OneTypeOnly(Good):
    def forward(self, **named: Any) -> Any:
        halfway = [found[:, 1:].lerp(named["masks"], 0.5) for found in named["level_probabilities"].values()]
        return {"halfway": torch.stack(halfway).square().mean()}


class LosesDigits(Good):
    def forward(self, **named: Any) -> Any:
        maps = {level: (found + 300) - 300 for level, found in named["level_probabilities"].items()}
        return super().forward(**{**named, "level_probabilities": maps})


class KnowsItsSide(Good):
    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return super().term(found.reshape(len(found), 1, 16, 16), masks)


class NoMean(Good):
    over_batch = "mean"

    def term(self, found: Tensor, masks: Tensor) -> Tensor:
        return super().term(found, masks) ** 2


class UnknownOverBatch(Good):
    over_batch = "sum"  # type: ignore[assignment]


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "L1"),
    "no_loss": (nn.Identity, GoodOptions, "L2"),
    "no_needs": (NoNeeds, GoodOptions, "L2"),
    "unknown_need": (UnknownNeed, GoodOptions, "L2"),
    "targets_only": (TargetsOnly, GoodOptions, "L2"),
    "own_weight": (OwnWeight, GoodOptions, "L2"),
    "bare_tensor": (BareTensor, GoodOptions, "L3"),
    "an_image_a_term": (AnImageATerm, GoodOptions, "L3"),
    "plain": (Plain, GoodOptions, "L3"),
    "bare_logarithm": (BareLogarithm, GoodOptions, "L4"),
    "mean_of_anomalous": (MeanOfAnomalous, GoodOptions, "L4"),
    "root_at_zero": (RootAtZero, GoodOptions, "L4"),
    "squeezes_the_batch": (SqueezesTheBatch, GoodOptions, "L5"),
    "knows_its_levels": (KnowsItsLevels, GoodOptions, "L5"),
    "thresholds": (Thresholds, GoodOptions, "L6"),
    "fills_the_masks": (FillsTheMasks, GoodOptions, "L7"),
    "counts_calls": (CountsCalls, GoodOptions, "L8"),
    "samples": (Samples, GoodOptions, "L8"),
    "one_type_only": (OneTypeOnly, GoodOptions, "L9"),
    "loses_digits": (LosesDigits, GoodOptions, "L9"),
    "knows_its_side": (KnowsItsSide, GoodOptions, "L10"),
    "no_mean": (NoMean, GoodOptions, "L11"),
    "unknown_over_batch": (UnknownOverBatch, GoodOptions, "L11"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_losses(register: Any) -> None:
    register("good", Good, GoodOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
