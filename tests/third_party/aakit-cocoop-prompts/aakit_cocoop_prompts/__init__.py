"""Prompts behind a learnt context, which an image may shift."""

from __future__ import annotations

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl

AAKIT_API = "2.1"


class CocoopOptions(Options):
    """Learnt tokens before the words, the same for both states, shifted by the image (CoCoOp, arXiv 2203.05557)."""

    tokens: int = Field(4, ge=1, le=16, description="learnt tokens, the same before the normal and the abnormal words")
    image_shift: bool = Field(True, description="whether a small network adds what the image says to each learnt token")


@hookimpl
def register_prompts(register: Register) -> None:
    """Offer `cocoop`."""
    register("cocoop", f"{__name__}.prompts:Cocoop", CocoopOptions)
