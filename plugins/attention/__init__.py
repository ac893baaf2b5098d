"""The two cross-attention stages: text tokens look at image patches, vision tokens look at prompts."""

from typing import Literal

from pydantic import Field

from aaclip_kit import Register, Sites, StageOptions, hookimpl


class CrossAttentionOptions(StageOptions):
    """Options of a cross-attention stage."""

    after: Sites = Field(
        (0,),
        description="block numbers, from 0, after which the stage acts, -1 for before the first; one module for each",
        min_length=1,
    )
    heads: int = Field(8, ge=1, description="attention heads; must divide the text width")
    scale: float = Field(0.1, ge=0, le=10, description="strength of the stage's output in the token stream")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout on the attention weights, in training only")
    norm_matched: bool = Field(True, description="give the output each token's own norm before it is scaled")


class TextToImageOptions(CrossAttentionOptions):
    """Cross-attention of text tokens over an image's patches, norm-matched and scaled."""

    tower: Literal["text"] = Field("text", description="the tower whose tokens the stage changes")


class ImageToTextOptions(CrossAttentionOptions):
    """Cross-attention of vision tokens over the prompts of a class, norm-matched and scaled."""

    tower: Literal["vision"] = Field("vision", description="the tower whose tokens the stage changes")


@hookimpl
def register_attention_stages(register: Register) -> None:
    """Offer `text_to_image` and `image_to_text`."""
    register("text_to_image", f"{__name__}.cross_attention:TextToImage", TextToImageOptions)
    register("image_to_text", f"{__name__}.cross_attention:ImageToText", ImageToTextOptions)
