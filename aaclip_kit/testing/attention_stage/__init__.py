"""The checks of an attention stage, and what they share: the sites that it is tried at, stages built there, inputs."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, cast, get_args

import torch
from pydantic import ValidationError
from torch import Tensor

from ...contracts.errors import UserError
from ...contracts.options import TOWERS, StageOptions, TowerName
from ...contracts.stage import AttentionStage, Context, ContextKind, StageSetting
from ..subject import Breach, NotApplicable, Subject

WIDTHS = ((64, 96, 32), (96, 64, 128), (32, 128, 160))
"""Text, vision and joint width, all different: multiples of 32, so that usual numbers of heads divide them."""


@dataclass(frozen=True)
class Given:
    """What a forward call gets."""

    tokens: Tensor
    context: Context | None

    def each(self, change: Callable[[Tensor], Tensor]) -> "Given":
        """The same with each tensor changed."""
        changed = {name: change(tensor) for name, tensor in self.tensors.items()}
        return Given(changed["tokens"], Context(changed["context"], changed.get("mask")) if self.context else None)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Name each tensor by what it is."""
        context = {} if self.context is None else {"context": self.context.tokens}
        mask = {} if self.context is None or self.context.mask is None else {"mask": self.context.mask}
        return {"tokens": self.tokens, **context, **mask}

    @property
    def seen(self) -> Context:
        """The context. Raises `NotApplicable` for a stage that has none."""
        if self.context is None:
            raise NotApplicable("the stage has no context")
        return self.context


def settings(subject: Subject, widths: tuple[int, int, int] = WIDTHS[0]) -> list[StageSetting]:
    """The site that the options name, and the same in the other tower where the stage can sit there too."""
    own = cast(StageOptions, subject.options()).tower
    other = next(tower for tower in TOWERS if tower != own)
    return [setting_of(tower, widths) for tower in (own, other) if tower == own or _fits(subject, tower)]


def setting_of(tower: TowerName, widths: tuple[int, int, int] = WIDTHS[0]) -> StageSetting:
    """A site after block 0 of a tower of these widths."""
    text, vision, embedding = widths
    width = text if tower == "text" else vision
    return StageSetting(
        tower=tower, after=0, width=width, text_width=text, vision_width=vision, image_context_width=embedding
    )


def _fits(subject: Subject, tower: TowerName) -> bool:
    try:
        stage = build_stage(subject, setting_of(tower))
    except ValidationError:
        return False
    except UserError as refusal:
        # The plugin's own refusal has no cause; an exception of its factory is one.
        if refusal.__cause__ is None:
            return False
        raise
    return tower == "vision" or fits_text(stage)


def fits_text(stage: AttentionStage) -> bool:
    """Whether the text tower can have the stage."""
    return stage.context_kind in ("none", "image") and not stage.inserts


def call(stage: AttentionStage, given: Given) -> Tensor:
    """What forward returns; a stage that is one for all its sites is told its only one here, after block 0."""
    changed: Tensor = stage(given.tokens, given.context, **site_of(stage))
    return changed


def site_of(stage: AttentionStage) -> dict[str, int]:
    """The site, by name, of a stage that is told it."""
    return {"site": 0} if stage.one_for_all_sites else {}


def build_stage(subject: Subject, setting: StageSetting, seed: int = 0, **changes: Any) -> AttentionStage:
    """The stage as the factory makes it under a seed, for `setting`, its only site."""
    torch.manual_seed(seed)
    stage: AttentionStage = subject.make(AttentionStage, setting, tower=setting.tower, after=[setting.after], **changes)
    if stage.context_kind not in get_args(ContextKind):
        raise Breach(f"its context_kind is {stage.context_kind!r}")
    return stage


def stirred(subject: Subject, setting: StageSetting, **changes: Any) -> AttentionStage:
    """The stage in evaluation mode with a little noise on every weight: what begins at zero would hide its faults."""
    return stir(build_stage(subject, setting, **changes).eval())


def stir(stage: AttentionStage, but: Collection[str] = ()) -> AttentionStage:
    """Add noise to every parameter, `but` for some."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in stage.named_parameters():
            if name not in but:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    return stage


def inputs(
    stage: AttentionStage,
    setting: StageSetting,
    *,
    items: int = 4,
    rows: int = 2,
    length: int = 7,
    context_length: int = 5,
    masked: bool = True,
    seed: int = 2,
) -> Given:
    """Random tokens `[items, L, D]`, and the context of the stage's kind with `rows` rows of M tokens.

    The mask hides one token of each row at least, another in each row, and never the first. A class embedding is one
    token, and has no mask.
    """
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(items, length, setting.width, generator=generator)
    if stage.context_kind == "none":
        return Given(tokens, None)
    width = setting.text_width if stage.context_kind == "text" else setting.image_context_width
    context_length = 1 if stage.context_kind == "class" else context_length
    seen = torch.randn(rows, context_length, width, generator=generator)
    if not masked or stage.context_kind == "class":
        return Given(tokens, Context(seen))
    mask = torch.rand(rows, context_length, generator=generator) < 0.7
    mask[:, 0] = True
    if context_length > 1:
        mask[torch.arange(rows), 1 + torch.arange(rows) % (context_length - 1)] = False
    return Given(tokens, Context(seen, mask))


def stirred_with_inputs(subject: Subject, **changes: Any) -> Iterator[tuple[AttentionStage, Given]]:
    """Give the stirred stage and its usual inputs, at each site of `settings`."""
    for setting in settings(subject):
        stage = stirred(subject, setting, **changes)
        yield stage, inputs(stage, setting)


def result(stage: AttentionStage, given: Given) -> Tensor:
    """What forward returns, without gradients."""
    with torch.no_grad():
        return call(stage, given)


def direction(like: Tensor) -> Tensor:
    """A random tensor of the same shape, by which a result is multiplied to make a number of it."""
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(3))


def beyond(one: Tensor, other: Tensor, *, tolerance: float) -> float:
    """The largest difference, infinite where one is not finite; 0 within the tolerance, relative to values above 1."""
    difference = float((one.float() - other.float()).abs().max())
    if not isfinite(difference):
        return inf
    return difference if difference > tolerance * max(1.0, float(other.abs().max())) else 0.0


def must_agree(one: Tensor, other: Tensor, said: str, *, tolerance: float) -> None:
    """Raise `Breach` where two results are farther apart than `beyond` allows."""
    if difference := beyond(one, other, tolerance=tolerance):
        raise Breach(f"{said} by {difference:.2g}")
