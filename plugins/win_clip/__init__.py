"""The head `win_clip`: windows of the image compared with text, nothing trained (Jeong et al., "WinCLIP", 2023)."""

from typing import Annotated

from pydantic import Field, field_validator

from aaclip_kit import Options, Register, hookimpl


class WinClipOptions(Options):
    """Windows of several sizes and the whole image; nothing to train (WinCLIP)."""

    scales: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)] = Field(
        (2, 3), min_length=1, description="sides of the square windows, in patches"
    )
    temperature: float = Field(
        0.07,
        gt=0,
        le=1,
        description="temperature of the softmax over cosines: 0.07 as published, where CLIP's training starts; 0.01 is "
        "where it ends",
    )

    @field_validator("scales")
    @classmethod
    def _ascending(cls, scales: tuple[int, ...]) -> tuple[int, ...]:
        if list(scales) != sorted(set(scales)):
            raise ValueError("needs ascending numbers, each once")
        return scales


@hookimpl
def register_heads(register: Register) -> None:
    """Offer `win_clip`."""
    register("win_clip", f"{__name__}.head:WinClip", WinClipOptions)
