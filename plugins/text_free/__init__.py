"""The head `text_free`: learnt class vectors a level in the place of text (docs/guide/methods.md)."""

from typing import Literal

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl


class TextFreeOptions(Options):
    """Two learnt vectors a level, (normal, abnormal): no text, on any backbone."""

    tokens: Literal["raw", "normed", "projected"] = Field(
        "normed",
        description="patch tokens that are compared: as they leave the block; after the tower's last norm; or after "
        "the backbone's own projection too",
    )
    image: Literal["class_token", "mean", "max"] = Field(
        "class_token",
        description="logits of the whole image: of the class embedding with two vectors of its own; or of the patches' "
        "logits, averaged over the levels, their mean or those of the most abnormal patch",
    )
    temperature: float = Field(
        20.0, gt=0, le=1000, description="factor on the cosines before the softmax of (normal, abnormal)"
    )
    sigma: float = Field(
        1.0,
        ge=0,
        le=16,
        description="standard deviation, in patches, of the Gaussian that smooths the map where evaluation.blur is on; "
        "0 smooths nothing",
    )


@hookimpl
def register_heads(register: Register) -> None:
    """Offer `text_free`."""
    register("text_free", f"{__name__}.head:TextFree", TextFreeOptions)
