"""A plugin file of stages that each break one promise; `CAUGHT_BY` names the check that must say so."""

from __future__ import annotations

import random
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import dropout

from aaclip_kit import AttentionStage, Context, Options, StageOptions, hookimpl


class GoodOptions(StageOptions):
    """Vision tokens attend to the text."""

    tower: Literal["vision"] = Field("vision", description="the tower whose tokens the stage changes")
    scale: float = Field(0.5, ge=0, description="strength of the update")


class Good(AttentionStage):
    """Keeps every promise; the others differ from it in one."""

    context_kind = "text"

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()
        self.scale = options.scale
        self.query = nn.Linear(setting.width, setting.text_width)
        self.value = nn.Linear(setting.text_width, setting.width)

    def scores(self, tokens: Tensor, seen: Context) -> Tensor:
        found = self.query(tokens) @ seen.tokens.transpose(1, 2) / seen.tokens.shape[-1] ** 0.5
        return found if seen.mask is None else found.masked_fill(~seen.mask[:, None], -torch.inf)

    def update(self, tokens: Tensor, context: Context) -> Tensor:
        seen = context.expanded(len(tokens))
        return self.value(self.scores(tokens, seen).softmax(dim=-1) @ seen.tokens)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens + self.scale * self.update(tokens, context)

    def attention_weights(self, tokens: Tensor, context: Context) -> Tensor:
        return self.scores(tokens, context.expanded(len(tokens))).softmax(dim=-1)[:, None]


class InText(StageOptions):
    """Text tokens, without a context."""

    tower: Literal["text"] = Field("text", description="the tower whose tokens the stage changes")


class InsertsWords(AttentionStage):
    inserts = 1

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.ones(1, 1, setting.width))

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return torch.cat([tokens, self.token.expand(len(tokens), -1, -1)], dim=1)


class LooksAhead(AttentionStage):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()
        self.mean = nn.Linear(setting.width, setting.width)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens + 0.1 * self.mean(tokens.mean(dim=1, keepdim=True))


class Undocumented(GoodOptions):
    __doc__ = None


class Undescribed(GoodOptions):
    """One of its options is not explained."""

    heads: int = 4


class TakesAnything(GoodOptions):
    """Misspelt keys pass."""

    model_config = ConfigDict(extra="ignore")


class Nowhere(Options):
    """Says neither tower nor block."""


class HardCodedWidth(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.query = nn.Linear(96, setting.text_width)


class NoStage(nn.Linear):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(setting.width, setting.width)


class UnknownContext(Good):
    context_kind = "picture"  # type: ignore[assignment]


class TextOptions(GoodOptions):
    """Sits in the text tower."""

    tower: Literal["text"] = Field("text", description="the tower whose tokens the stage changes")  # type: ignore


class DropsTheClassToken(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context)[:, 1:]


class ARowAnItem(Good):
    def update(self, tokens: Tensor, context: Context) -> Tensor:
        return self.value(self.scores(tokens, context).softmax(dim=-1) @ context.tokens)


class NeedsAMask(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        assert context.mask.any()
        return super().forward(tokens, context)


class SqueezesOneItem(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context).squeeze(0)


class FewPositions(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.positions = nn.Parameter(torch.randn(64, setting.width))

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context) + self.positions[: tokens.shape[1]]


class Infinite(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context) + 0 * tokens.log()


class AddsInPlace(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        update = self.scale * self.update(tokens, context)
        with torch.no_grad():
            tokens += update
        return tokens + 0 * update


class NormsTheContext(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        context.tokens.div_(context.tokens.norm(dim=-1, keepdim=True))
        return super().forward(tokens, context)


class OpensTheMask(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        changed = super().forward(tokens, context)
        if context.mask is not None:
            context.mask[:] = True
        return changed


class Detaches(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens.detach(), context)


class NoGradient(Good):
    @torch.no_grad()
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context)


class UnusedParameter(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.left_over = nn.Linear(setting.width, 3)


class TwoZeros(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.one, self.other = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context) + self.one * self.other * tokens


class RoundedGate(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.gate = nn.Parameter(torch.tensor(0.9))

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens + self.gate.round() * self.update(tokens, context)


class AcrossItems(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens.transpose(0, 1).softmax(dim=1).transpose(0, 1) * tokens, context)


class MeanOfContexts(Good):
    def update(self, tokens: Tensor, context: Context) -> Tensor:
        seen = context.tokens.mean(dim=0, keepdim=True).expand_as(context.tokens)
        return super().update(tokens, Context(seen, context.mask))


class BatchNorm(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.norm = nn.BatchNorm1d(setting.width)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(self.norm(tokens.transpose(1, 2)).transpose(1, 2), context)


class RowsInTurn(Good):
    def update(self, tokens: Tensor, context: Context) -> Tensor:
        many = len(tokens) // len(context.tokens)
        mask = None if context.mask is None else context.mask.repeat(many, 1)
        return super().update(tokens, Context(context.tokens.repeat(many, 1, 1), mask))


class OverlooksRowOf(Good):
    reads_row_of = True

    def update(self, tokens: Tensor, context: Context) -> Tensor:
        return super().update(tokens, Context(context.tokens, context.mask))


class IgnoresTheMask(Good):
    def update(self, tokens: Tensor, context: Context) -> Tensor:
        return super().update(tokens, Context(context.tokens))


class MaskCounts(Good):
    def update(self, tokens: Tensor, context: Context) -> Tensor:
        return super().update(tokens, context) * (1 if context.mask is None else 2)


class PythonsChance(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        nn.init.constant_(self.query.bias, random.random())


class CountsCalls(Good):
    calls = 0

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        self.calls += self.training
        return super().forward(tokens, context) * (1 + 0.1 * self.calls * self.training)


class AlwaysDrops(Good):
    def update(self, tokens: Tensor, context: Context) -> Tensor:
        return dropout(super().update(tokens, context), 0.1)


class PlainTensor(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.mixing = torch.randn(setting.width)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context) + 0.1 * self.mixing.to(tokens.device) * tokens


class PlainList(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.layers = [nn.Linear(setting.width, setting.width)]

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(self.layers[0].to(tokens.device)(tokens), context)


class RandomBuffer(Good):
    mixing: Tensor

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.register_buffer("mixing", torch.randn(setting.width))

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context) + 0.1 * self.mixing * tokens


class RunningMean(Good):
    mean: Tensor

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.register_buffer("mean", torch.zeros(setting.width))

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * tokens.detach().mean(dim=(0, 1))
            return super().forward(tokens, context)
        return super().forward(tokens - self.mean, context)


class OneTypeOnly(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens.lerp(self.update(tokens, context), 0.1)


class LosesDigits(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        update = self.query(tokens).sum(dim=-1, keepdim=True) + 1000
        return super().forward(tokens, context) + (update - 1000)


class OnTheCpu(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        places = torch.arange(tokens.shape[1])[:, None] / tokens.shape[1]
        return super().forward(tokens + places, context)


class MasksOnTheCpu(Good):
    def scores(self, tokens: Tensor, seen: Context) -> Tensor:
        return super().scores(tokens, seen).masked_fill(torch.zeros(seen.tokens.shape[1]) > 0, 0)


class ScalesAll(Good):
    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return self.scale * (tokens + self.update(tokens, context))


class IgnoresTheScale(Good):
    """A learnt scale that begins elsewhere, and an output that hides it by being zero at first."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.scale = nn.Parameter(torch.tensor(0.1))
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)


class AddsBesideTheScale(Good):
    """What is added beside the learnt scale is zero at first."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.scale = nn.Parameter(torch.tensor(options.scale))
        self.beside = nn.Linear(setting.width, setting.width, bias=False)
        nn.init.zeros_(self.beside.weight)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context) + self.beside(tokens)


class FlatWeights(Good):
    def attention_weights(self, tokens: Tensor, context: Context) -> Tensor:
        return super().attention_weights(tokens, context)[:, 0]


class SigmoidWeights(Good):
    def attention_weights(self, tokens: Tensor, context: Context) -> Tensor:
        return self.scores(tokens, context.expanded(len(tokens))).sigmoid()[:, None]


class UnmaskedWeights(Good):
    def attention_weights(self, tokens: Tensor, context: Context) -> Tensor:
        return super().attention_weights(tokens, Context(context.tokens))


class DroppedWeights(Good):
    def attention_weights(self, tokens: Tensor, context: Context) -> Tensor:
        return super().attention_weights(dropout(tokens, 0.1, self.training), context)


class ForgetfulWeights(Good):
    def attention_weights(self, tokens: Tensor, context: Context) -> Tensor:
        weights = super().attention_weights(tokens, context)
        self.scale = 0.9 * self.scale
        return weights


class SharedMemory(Good):
    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.shifts = nn.Parameter(torch.randn(2, setting.width))
        self.first = nn.Parameter(self.shifts.data[0])

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens, context) + self.scale * (self.shifts.sum(dim=0) + self.first)


class ForgetsToInsert(Good):
    inserts = 2


class ListsItsTerms(Good):
    def loss_terms(self) -> Any:
        return [self.value.weight.square().mean()]


class TermOfEachChannel(Good):
    def loss_terms(self) -> Any:
        return {"size": self.value.weight.square().mean(dim=0)}


class DetachedTerm(Good):
    def loss_terms(self) -> Any:
        return {"size": self.value.weight.detach().square().mean()}


BROKEN: dict[str, tuple[type, type[Options], str]] = {
    "undocumented": (Good, Undocumented, "S1"),
    "undescribed": (Good, Undescribed, "S1"),
    "takes_anything": (Good, TakesAnything, "S1"),
    "nowhere": (Good, Nowhere, "S1"),
    "hard_coded_width": (HardCodedWidth, GoodOptions, "S2"),
    "no_stage": (NoStage, GoodOptions, "S2"),
    "unknown_context": (UnknownContext, GoodOptions, "S2"),
    "text_on_text": (Good, TextOptions, "S2"),
    "inserts_words": (InsertsWords, InText, "S2"),
    "forgets_to_insert": (ForgetsToInsert, GoodOptions, "S3"),
    "lists_its_terms": (ListsItsTerms, GoodOptions, "S18"),
    "term_of_each_channel": (TermOfEachChannel, GoodOptions, "S18"),
    "detached_term": (DetachedTerm, GoodOptions, "S20"),
    "drops_the_class_token": (DropsTheClassToken, GoodOptions, "S3"),
    "a_row_an_item": (ARowAnItem, GoodOptions, "S3"),
    "needs_a_mask": (NeedsAMask, GoodOptions, "S3"),
    "squeezes_one_item": (SqueezesOneItem, GoodOptions, "S3"),
    "few_positions": (FewPositions, GoodOptions, "S3"),
    "infinite": (Infinite, GoodOptions, "S3"),
    "adds_in_place": (AddsInPlace, GoodOptions, "S4"),
    "norms_the_context": (NormsTheContext, GoodOptions, "S4"),
    "opens_the_mask": (OpensTheMask, GoodOptions, "S4"),
    "detaches": (Detaches, GoodOptions, "S5"),
    "no_gradient": (NoGradient, GoodOptions, "S5"),
    "unused_parameter": (UnusedParameter, GoodOptions, "S6"),
    "two_zeros": (TwoZeros, GoodOptions, "S6"),
    "rounded_gate": (RoundedGate, GoodOptions, "S6"),
    "across_items": (AcrossItems, GoodOptions, "S10"),
    "mean_of_contexts": (MeanOfContexts, GoodOptions, "S10"),
    "batch_norm": (BatchNorm, GoodOptions, "S11"),
    "rows_in_turn": (RowsInTurn, GoodOptions, "S9"),
    "overlooks_row_of": (OverlooksRowOf, GoodOptions, "S9"),
    "ignores_the_mask": (IgnoresTheMask, GoodOptions, "S12"),
    "mask_counts": (MaskCounts, GoodOptions, "S12"),
    "pythons_chance": (PythonsChance, GoodOptions, "S7"),
    "counts_calls": (CountsCalls, GoodOptions, "S7"),
    "always_drops": (AlwaysDrops, GoodOptions, "S8"),
    "plain_tensor": (PlainTensor, GoodOptions, "S13"),
    "plain_list": (PlainList, GoodOptions, "S13"),
    "random_buffer": (RandomBuffer, GoodOptions, "S13"),
    "running_mean": (RunningMean, GoodOptions, "S13"),
    "one_type_only": (OneTypeOnly, GoodOptions, "S14"),
    "loses_digits": (LosesDigits, GoodOptions, "S14"),
    "on_the_cpu": (OnTheCpu, GoodOptions, "S15"),
    "masks_on_the_cpu": (MasksOnTheCpu, GoodOptions, "S15"),
    "scales_all": (ScalesAll, GoodOptions, "S16"),
    "ignores_the_scale": (IgnoresTheScale, GoodOptions, "S16"),
    "adds_beside_the_scale": (AddsBesideTheScale, GoodOptions, "S16"),
    "flat_weights": (FlatWeights, GoodOptions, "S17"),
    "sigmoid_weights": (SigmoidWeights, GoodOptions, "S17"),
    "unmasked_weights": (UnmaskedWeights, GoodOptions, "S17"),
    "dropped_weights": (DroppedWeights, GoodOptions, "S17"),
    "forgetful_weights": (ForgetfulWeights, GoodOptions, "S17"),
    "shared_memory": (SharedMemory, GoodOptions, "S18"),
    "looks_ahead": (LooksAhead, InText, "S19"),
}
"""Factory, options, and the check that catches it."""

CAUGHT_BY = {name: check for name, (_, _, check) in BROKEN.items()}


@hookimpl
def register_attention_stages(register: Any) -> None:
    register("good", Good, GoodOptions)
    for name, (factory, options, _) in BROKEN.items():
        register(name, factory, options)
