"""The loop schedulers `feedback`, `base`, `v2` (method: section 7), `single`, `none`: plain data without torch."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from aaclip_kit import LoopPlan, LoopRecord, OptimizerPlan, Options, PhasePlan, RatePlan, Register, hookimpl

Epochs = Annotated[int, Field(ge=1, le=1000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]


class BatchOptions(Options):
    """Batch sizes of the two phases, in images."""

    text_batch: int = Field(16, ge=1, description="images in a batch of the text phase")
    image_batch: int = Field(2, ge=1, description="images in a batch of the image phase")


_PerLoopEpochs = Annotated[tuple[Epochs, ...], Field(strict=False, min_length=1)]
_PerLoopFactor = Annotated[tuple[Factor, ...], Field(strict=False, min_length=1)]
_Milestones = Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(strict=False)]


class FeedbackOptions(BatchOptions):
    """Feedback loops with the published table as defaults; one loop for each entry of the lists."""

    text_epochs: _PerLoopEpochs = Field((5, 3, 2), description="epochs of the text phase, loop by loop")
    image_epochs: _PerLoopEpochs = Field((20, 10, 5), description="epochs of the image phase, loop by loop")
    rate_factors: _PerLoopFactor = Field((1.0, 0.5, 0.25), description="factor on both learning rates, loop by loop")
    text_rate: Rate = Field(1e-5, description="learning rate of the text phase")
    image_rate: Rate = Field(5e-4, description="learning rate of the image phase")
    betas: Betas = Field((0.5, 0.999), description="Adam's betas")
    milestones: _Milestones = Field(
        (0.5, 0.8),
        description="parts of the image phase's steps after which its rate is multiplied by milestone_factor",
    )
    milestone_factor: Factor = Field(0.5, description="factor on the image phase's rate at each milestone")
    attention: bool = Field(True, description="whether the cross-attention stages act")

    @model_validator(mode="after")
    def _lists_agree(self) -> Self:
        lengths = {name: len(getattr(self, name)) for name in ("text_epochs", "image_epochs", "rate_factors")}
        if len(set(lengths.values())) > 1:
            have = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ValueError(f"text_epochs, image_epochs and rate_factors need one entry for each loop, but {have}")
        return self


@dataclass(frozen=True)
class FeedbackScheduler:
    """As many loops as the lists have entries; from the second on, text sees the trained image features."""

    options: FeedbackOptions

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of loop `len(history) + 1`, or None after the last."""
        loop, options = len(history), self.options
        if loop == len(options.rate_factors):
            return None
        factor, adam = options.rate_factors[loop], partial(OptimizerPlan, "adam", betas=options.betas)
        rate = RatePlan("milestones", at_fractions=options.milestones, factor=options.milestone_factor)
        plan = partial(PhasePlan, attention=options.attention)
        text = plan("text", options.text_epochs[loop], options.text_batch, adam(options.text_rate * factor))
        image = plan("vision", options.image_epochs[loop], options.image_batch, adam(options.image_rate * factor), rate)
        return LoopPlan((replace(text, features="trained" if loop else "frozen"), image))


# From 2 on, because a rate plan reads numbers up to 1 as fractions.
_Steps = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)]


class BaseOptions(BatchOptions):
    """AA-CLIP itself: one loop, cross-attention off."""

    text_epochs: Epochs = Field(5, description="epochs of the text phase")
    image_epochs: Epochs = Field(20, description="epochs of the image phase")
    text_rate: Rate = Field(1e-5, description="learning rate of the text phase")
    image_rate: Rate = Field(5e-4, description="learning rate of the image phase")
    betas: Betas = Field((0.5, 0.999), description="Adam's betas")
    milestone_steps: _Steps = Field(
        (16000, 32000), description="steps after which the image phase's rate is multiplied by milestone_factor"
    )
    milestone_factor: Factor = Field(0.5, description="factor on the image phase's rate at each milestone")


@dataclass(frozen=True)
class BaseScheduler:
    """One loop: text on frozen image features, then images; the stages with a context stay off."""

    options: BaseOptions

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of the one loop, then None."""
        if history:
            return None
        options = self.options
        adam = partial(OptimizerPlan, "adam", betas=options.betas)
        rate = RatePlan("milestones", at_steps=options.milestone_steps, factor=options.milestone_factor)
        plan = partial(PhasePlan, attention=False)
        text = plan("text", options.text_epochs, options.text_batch, adam(options.text_rate))
        image = plan("vision", options.image_epochs, options.image_batch, adam(options.image_rate), rate)
        return LoopPlan((text, image))


class V2Options(BatchOptions):
    """The second recipe: AdamW, warm-up and cosine, 1 to 10 shrinking loops."""

    loops: int = Field(3, ge=1, le=10, description="number of loops")
    attention_from_loop: int = Field(
        1, ge=1, le=11, description="first loop, from 1, in which the cross-attention stages act; above `loops`: never"
    )
    text_epochs: Epochs = Field(5, description="epochs of the text phase in loop 1")
    image_epochs: Epochs = Field(15, description="epochs of the image phase in loop 1")
    epoch_factor: Factor = Field(0.8, description="factor on the epochs, loop by loop; rounded down, at least 1")
    rate_factor: Factor = Field(0.8, description="factor on both learning rates, loop by loop")
    text_rate: Rate = Field(2e-5, description="peak learning rate of the text phase in loop 1")
    image_rate: Rate = Field(5e-3, description="peak learning rate of the image phase in loop 1")
    betas: Betas = Field((0.9, 0.999), description="AdamW's betas")
    weight_decay: float = Field(0.01, ge=0, le=1, description="AdamW's weight decay")
    warmup_epochs: int = Field(
        2, ge=0, description="epochs of linear warm-up; fewer where a phase would have none left for the cosine"
    )
    clip_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")


@dataclass(frozen=True)
class V2Scheduler:
    """1 to 10 loops of warm-up and cosine; from the second on, text sees the trained image features."""

    options: V2Options

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of loop `len(history) + 1`, or None after the last."""
        loop, options = len(history), self.options
        if loop == options.loops:
            return None
        text = self._phase(loop, "text", options.text_epochs, options.text_batch, options.text_rate)
        image = self._phase(loop, "vision", options.image_epochs, options.image_batch, options.image_rate)
        return LoopPlan((text, image))

    def _phase(self, loop: int, train: Literal["text", "vision"], first: int, batch: int, rate: float) -> PhasePlan:
        options = self.options
        # The small addend keeps a product such as 100 * 0.29 from falling below the whole number that it means.
        epochs = max(1, math.floor(first * options.epoch_factor**loop + 1e-9))
        peak = rate * options.rate_factor**loop
        adamw = OptimizerPlan("adamw", peak, options.betas, options.weight_decay, options.clip_norm)
        course = RatePlan("warmup_cosine", warmup_epochs=min(options.warmup_epochs, epochs - 1))
        features: Literal["frozen", "trained"] = "trained" if loop and train == "text" else "frozen"
        return PhasePlan(train, epochs, batch, adamw, course, features, loop + 1 >= options.attention_from_loop)


class SingleOptions(Options):
    """One loop of one phase at a constant learning rate."""

    train: Literal["text", "vision", "both"] = Field(
        description="what is trained: text stages and prompts, vision stages and the head, or both"
    )
    epochs: Epochs = Field(description="epochs of the phase")
    batch: int = Field(8, ge=1, description="images in a batch")
    optimizer: Literal["adam", "adamw"] = Field("adam", description="the optimizer")
    rate: Rate = Field(1e-3, description="learning rate")
    betas: Betas = Field((0.5, 0.999), description="the optimizer's betas")
    weight_decay: float = Field(0.0, ge=0, le=1, description="the optimizer's weight decay")
    features: Literal["frozen", "trained"] = Field(
        "frozen", description="features of images that a phase of text alone sees"
    )


@dataclass(frozen=True)
class SingleScheduler:
    """One loop of one phase."""

    options: SingleOptions

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of the one loop, then None."""
        if history:
            return None
        own = self.options
        optimizer = OptimizerPlan(own.optimizer, own.rate, own.betas, own.weight_decay)
        return LoopPlan((PhasePlan(own.train, own.epochs, own.batch, optimizer, features=own.features),))


class NoneOptions(Options):
    """No loop: nothing is trained, and the model is scored as it is."""


@dataclass(frozen=True)
class NoneScheduler:
    """No loop at all."""

    options: NoneOptions

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """None."""
        return None


@hookimpl
def register_schedulers(register: Register) -> None:
    """Offer the five schedulers."""
    register("feedback", FeedbackScheduler, FeedbackOptions)
    register("base", BaseScheduler, BaseOptions)
    register("v2", V2Scheduler, V2Options)
    register("single", SingleScheduler, SingleOptions)
    register("none", NoneScheduler, NoneOptions)
