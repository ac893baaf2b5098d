"""A plugin file of stages that keep every promise in an unusual way; `SKIPPED` names checks that cannot try them."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from aaclip_kit import AttentionStage, StageOptions, UserError, hookimpl


class AnywhereOptions(StageOptions):
    """Either tower."""


class PositiveOptions(StageOptions):
    """A scale that may not be 0."""

    scale: float = Field(0.5, gt=0, description="strength of the update")


class BeginsAtZero(AttentionStage):
    """The output projection is zero at first, so that a gradient reaches the other layer from the second step on."""

    context_kind = "none"

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(setting.width, 8), nn.Linear(8, setting.width)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens + self.outer(torch.tanh(self.inner(tokens)))


class ReadsValues(BeginsAtZero):
    """Looks at a number on its way, which waits for the device."""

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens / max(1.0, float(tokens.detach().abs().max()) / 1e6), context)


class WithoutParameters(AttentionStage):
    """Learns nothing."""

    context_kind = "image"

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__()

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        seen = context.expanded(len(tokens))
        weights = torch.ones_like(seen.tokens[..., :1]) if seen.mask is None else seen.mask[..., None].float()
        mean = (seen.tokens * weights).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))
        return tokens * (1 + 0.1 * torch.tanh(mean)[:, None, None])


class FixedShift(BeginsAtZero):
    """A buffer that follows from the setting alone, and an index on the CPU, which CUDA takes too."""

    shift: Tensor

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.register_buffer("shift", torch.linspace(-1, 1, setting.width))
        self.vision = setting.tower == "vision"

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        reversed_places = torch.arange(tokens.shape[1] - 1, -1, -1)
        turned = tokens[:, reversed_places] if self.vision else 0 * tokens  # text tokens look at no later ones
        return super().forward(tokens + self.shift, context) + 0.1 * turned


class ScaledOptions(StageOptions):
    """Scaled by `scale`, which may be 0."""

    scale: float = Field(0.1, ge=0, description="strength of the update at first")


class LearntScale(BeginsAtZero):
    """The option says where a scale begins that is learnt."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.scale = nn.Parameter(torch.tensor(options.scale))
        nn.init.normal_(self.outer.weight)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens + self.scale * (super().forward(tokens, context) - tokens)


class LearntGate(LearntScale):
    """The same for each channel, through a function that is 0 at 0, over an output that is zero at first."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.scale = nn.Parameter(torch.full((setting.width,), options.scale))
        nn.init.zeros_(self.outer.weight)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return tokens + torch.tanh(self.scale) * self.outer(torch.tanh(self.inner(tokens)))


class DrawnToScale(BeginsAtZero):
    """The output is drawn at the scale, and zero at 0."""

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        nn.init.normal_(self.outer.weight, std=options.scale)


class VisionOnly(BeginsAtZero):
    """Refuses the other tower itself."""

    def __init__(self, options: Any, setting: Any) -> None:
        if setting.tower == "text":
            raise UserError("sits in the vision tower only", fix='set tower = "vision"')
        super().__init__(options, setting)


class SharedAndInserting(AttentionStage):
    """One module for all its sites, which appends tokens at the first and replaces them at the others."""

    one_for_all_sites = True
    inserts = 2

    def __init__(self, options: Any, setting: Any) -> None:
        if setting.tower == "text":
            raise UserError("sits in the vision tower only", fix='set tower = "vision"')
        super().__init__()
        self.first = setting.after
        self.tokens = nn.Parameter(torch.randn(2, setting.width))

    def forward(self, tokens: Tensor, context: Any, site: int = -1) -> Tensor:
        kept = tokens if site == self.first else tokens[:, :-2]
        return torch.cat([kept, self.tokens.expand(len(tokens), -1, -1)], dim=1)


class LooksAtTheWhole(BeginsAtZero):
    """Moves tokens by what the image's class embedding says."""

    context_kind = "class"  # type: ignore[assignment]

    def __init__(self, options: Any, setting: Any) -> None:
        super().__init__(options, setting)
        self.own = nn.Linear(setting.image_context_width, setting.width)

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        return super().forward(tokens + self.own(context.expanded(len(tokens)).tokens), None)


class OffersTerms(BeginsAtZero):
    """Has a loss term of its own, of the last pass."""

    size: Tensor | None = None

    def forward(self, tokens: Tensor, context: Any) -> Tensor:
        update = self.inner(tokens)
        self.size = update.square().mean()
        return super().forward(tokens, context)

    def loss_terms(self) -> dict[str, Tensor]:
        return {} if self.size is None else {"size": self.size}


STAGES: dict[str, tuple[type, type[StageOptions], set[str]]] = {
    "begins_at_zero": (BeginsAtZero, AnywhereOptions, {"S9", "S12", "S16", "S17"}),
    "reads_values": (ReadsValues, AnywhereOptions, {"S9", "S12", "S15", "S16", "S17"}),
    "without_parameters": (WithoutParameters, AnywhereOptions, {"S16", "S17"}),
    "fixed_shift": (FixedShift, AnywhereOptions, {"S9", "S12", "S16", "S17"}),
    "learnt_scale": (LearntScale, ScaledOptions, {"S9", "S12", "S17"}),
    "learnt_gate": (LearntGate, ScaledOptions, {"S9", "S12", "S17"}),
    "drawn_to_scale": (DrawnToScale, ScaledOptions, {"S9", "S12", "S17"}),
    "vision_only": (VisionOnly, AnywhereOptions, {"S9", "S12", "S16", "S17", "S19"}),
    "shared_and_inserting": (SharedAndInserting, AnywhereOptions, {"S9", "S12", "S16", "S17", "S19"}),
    "looks_at_the_whole": (LooksAtTheWhole, AnywhereOptions, {"S12", "S16", "S17", "S19"}),
    "offers_terms": (OffersTerms, AnywhereOptions, {"S9", "S12", "S16", "S17"}),
    "positive_scale": (BeginsAtZero, PositiveOptions, {"S9", "S12", "S16", "S17"}),
}
"""Factory, options, and the checks that are skipped."""


@hookimpl
def register_attention_stages(register: Any) -> None:
    for name, (factory, options, _) in STAGES.items():
        register(name, factory, options)
