"""The second recipe: AdamW, warm-up and cosine, shrinking loops, cross-attention from a chosen loop on."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from aaclip_kit import LoopPlan, LoopRecord, OptimizerPlan, PhasePlan, RatePlan

from .fields import BatchOptions, Betas, Epochs, Factor, Rate


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


class V2Scheduler:
    """1 to 10 loops of warm-up and cosine; from the second on, text sees the trained image features."""

    def __init__(self, options: V2Options) -> None:
        self.options = options

    def next_loop(self, history: tuple[LoopRecord, ...]) -> LoopPlan | None:
        """The plan of loop `len(history) + 1`, or None after the last."""
        loop = len(history)
        options = self.options
        if loop == options.loops:
            return None
        return LoopPlan(
            (
                self._phase(loop, "text", options.text_epochs, options.text_batch, options.text_rate),
                self._phase(loop, "vision", options.image_epochs, options.image_batch, options.image_rate),
            )
        )

    def _phase(self, loop: int, train: Literal["text", "vision"], first: int, batch: int, rate: float) -> PhasePlan:
        options = self.options
        # The small addend keeps a product such as 100 * 0.29 from falling below the whole number that it means.
        epochs = max(1, math.floor(first * options.epoch_factor**loop + 1e-9))
        return PhasePlan(
            train=train,
            epochs=epochs,
            batch_size=batch,
            optimizer=OptimizerPlan(
                "adamw", rate * options.rate_factor**loop, options.betas, options.weight_decay, options.clip_norm
            ),
            rate=RatePlan("warmup_cosine", warmup_epochs=min(options.warmup_epochs, epochs - 1)),
            features="trained" if loop and train == "text" else "frozen",
            attention=loop + 1 >= options.attention_from_loop,
        )
