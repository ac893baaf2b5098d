"""The `open_clip` backbone: any vision-transformer CLIP that open_clip builds, walked block by block."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from aaclip_kit import Options, Register, hookimpl

from ..weights_path import NameOrPath, absolute


def _model(text: str) -> str:
    """Refuse what was the embedded model's name before it was a backbone of its own."""
    if text == "embedded":
        raise ValueError('is a backbone of its own; write use = "embedded" and no model')
    return absolute(text)


class OpenClipOptions(Options):
    """Any vision-transformer CLIP that open_clip builds, frozen."""

    model: Annotated[str, Field(min_length=1), AfterValidator(_model)] = Field(
        description='open_clip model name such as "ViT-L-14-336", or a folder, with a separator in its path, that has '
        "open_clip_config.json and open_clip_model.safetensors; the small model that needs no download is the "
        'backbone use = "embedded"',
    )
    pretrained: NameOrPath = Field(
        "own",
        description='"own": the weights beside the configuration in its folder; "none": random weights; '
        'a pretrained tag such as "openai"; or a weights file',
    )
    image_size: int | None = Field(
        None, ge=1, le=4096, description="image side in pixels, divisible by the patch; by default the model's own"
    )
    activation: Literal["auto", "gelu", "quick_gelu"] = Field(
        "auto", description="activation of the blocks; auto is what the weights were trained with"
    )
    position_resize: Literal["antialiased", "bicubic", "bilinear"] = Field(
        "antialiased",
        description="how the positions of a weights file are brought to another grid: bicubic with antialiasing, as "
        "open_clip does; or, as some published methods do, bicubic or bilinear without",
    )
    surgery_blocks: int | None = Field(
        None, ge=0, description="last vision blocks with V-V attention in frozen features; by default 19 of 24"
    )


def weights_at_hand() -> list[str]:
    """Published weights that lie on this machine, as "MODEL TAG"; `aakit doctor` lists them."""
    from .source import tags_at_hand

    return tags_at_hand()


@hookimpl
def register_backbones(register: Register) -> None:
    """Offer `open_clip`."""
    register("open_clip", f"{__name__}.backbone:OpenClipBackbone", OpenClipOptions)
