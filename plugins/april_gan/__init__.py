"""Head and reference `april_gan`: a linear layer a level on raw patch tokens, and a memory of such tokens.

Source: APRIL-GAN, VAND challenge 2023.
"""

from typing import ClassVar

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl


class AprilGanOptions(Options):
    """A trained linear layer a level, whose maps are added (APRIL-GAN)."""

    published_keys: ClassVar[tuple[str, ...]] = ("trainable_linearlayer.fc.*",)

    temperature: float = Field(
        100.0, gt=0, le=1000, description="factor on the cosines before the softmax of (normal, abnormal)"
    )
    sigma: float = Field(
        0.0,
        ge=0,
        le=64,
        description="standard deviation, in pixels, of the Gaussian that smooths the map where evaluation.blur is on; "
        "0, as published, smooths nothing",
    )


class AprilGanMemoryOptions(Options):
    """Nearest raw patches of normal images at every level, their distances added to the map (APRIL-GAN, few-shot)."""


@hookimpl
def register_references(register: Register) -> None:
    """Offer `april_gan`."""
    register("april_gan", f"{__name__}.memory:AprilGanMemory", AprilGanMemoryOptions)


@hookimpl
def register_heads(register: Register) -> None:
    """Offer `april_gan`."""
    register("april_gan", f"{__name__}.head:AprilGan", AprilGanOptions)
