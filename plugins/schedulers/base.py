"""The base recipe: AA-CLIP itself, one loop without cross-attention."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aaclip_kit import LoopPlan, LoopRecord, OptimizerPlan, PhasePlan, RatePlan

from .fields import BatchOptions, Betas, Epochs, Factor, Rate

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


class BaseScheduler:
    """One loop: text on frozen image features, then images; the stages with a context stay off."""

    def __init__(self, options: BaseOptions) -> None:
        self.options = options

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of the one loop, then None."""
        if history:
            return None
        options = self.options
        text = PhasePlan(
            train="text",
            epochs=options.text_epochs,
            batch_size=options.text_batch,
            optimizer=OptimizerPlan("adam", options.text_rate, options.betas),
            attention=False,
        )
        image = PhasePlan(
            train="vision",
            epochs=options.image_epochs,
            batch_size=options.image_batch,
            optimizer=OptimizerPlan("adam", options.image_rate, options.betas),
            rate=RatePlan(
                "milestones", at=tuple(float(step) for step in options.milestone_steps), factor=options.milestone_factor
            ),
            attention=False,
        )
        return LoopPlan((text, image))
