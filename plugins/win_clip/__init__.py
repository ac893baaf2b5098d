"""Head and reference `win_clip`: windows of the image compared with text, and with those of normal images.

Source: Jeong et al., "WinCLIP", 2023. Nothing is trained.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from aaclip_kit import Options, Register, hookimpl


def _ascending(scales: tuple[int, ...]) -> tuple[int, ...]:
    if list(scales) != sorted(set(scales)):
        raise ValueError("needs ascending numbers, each once")
    return scales


Scales = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(_ascending), Field(strict=False, min_length=1)
]


class WinClipOptions(Options):
    """Windows of several sizes and the whole image; nothing to train (WinCLIP)."""

    scales: Scales = Field((2, 3), description="sides of the square windows, in patches")
    temperature: float = Field(
        0.07,
        gt=0,
        le=1,
        description="temperature of the softmax over cosines: 0.07 as published, where CLIP's training starts; 0.01 is "
        "where it ends",
    )


class WinClipMemoryOptions(Options):
    """Nearest patches and windows of normal images, averaged with the head's map (WinCLIP, few-shot)."""

    scales: Scales = Field(
        (2, 3), description="sides of the square windows, in patches; those of the head cost nothing"
    )


@hookimpl
def register_references(register: Register) -> None:
    """Offer `win_clip`."""
    register("win_clip", f"{__name__}.memory:WinClipMemory", WinClipMemoryOptions)


@hookimpl
def register_heads(register: Register) -> None:
    """Offer `win_clip`."""
    register("win_clip", f"{__name__}.head:WinClip", WinClipOptions)
