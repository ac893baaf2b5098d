"""The feedback recipe: text on frozen image features, images on the text, and again on what was learnt."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from aaclip_kit import LoopPlan, LoopRecord, OptimizerPlan, PhasePlan, RatePlan

from .fields import BatchOptions, Betas, Epochs, Factor, Rate

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


class FeedbackScheduler:
    """As many loops as the lists have entries; from the second on, text sees the trained image features."""

    def __init__(self, options: FeedbackOptions) -> None:
        self.options = options

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of loop `len(history) + 1`, or None after the last."""
        loop = len(history)
        if loop == len(self.options.rate_factors):
            return None
        return LoopPlan((self._text(loop), self._image(loop)))

    def _text(self, loop: int) -> PhasePlan:
        options = self.options
        return PhasePlan(
            train="text",
            epochs=options.text_epochs[loop],
            batch_size=options.text_batch,
            optimizer=OptimizerPlan("adam", options.text_rate * options.rate_factors[loop], options.betas),
            features="trained" if loop else "frozen",
            attention=options.attention,
        )

    def _image(self, loop: int) -> PhasePlan:
        options = self.options
        return PhasePlan(
            train="vision",
            epochs=options.image_epochs[loop],
            batch_size=options.image_batch,
            optimizer=OptimizerPlan("adam", options.image_rate * options.rate_factors[loop], options.betas),
            rate=RatePlan("milestones", at=options.milestones, factor=options.milestone_factor),
            attention=options.attention,
        )
