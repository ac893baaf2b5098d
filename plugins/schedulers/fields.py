"""Option types that the schedulers share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from aaclip_kit import Options

Epochs = Annotated[int, Field(ge=1, le=1000)]
Rate = Annotated[float, Field(gt=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]


class BatchOptions(Options):
    """Batch sizes of the two phases, in images."""

    text_batch: int = Field(16, ge=1, description="images in a batch of the text phase")
    image_batch: int = Field(2, ge=1, description="images in a batch of the image phase")
