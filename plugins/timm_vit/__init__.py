"""The `timm` backbone: DINOv2, DINOv3 and other plain vision transformers of timm, without text."""

from typing import ClassVar, Literal

from pydantic import Field

from aaclip_kit import BackboneOptions, Register, hookimpl

from ..weights_path import NameOrPath


class TimmOptions(BackboneOptions):
    """A vision transformer of timm such as DINOv2 or DINOv3, frozen, without a text tower."""

    has_text: ClassVar[bool] = False

    model: str = Field(
        min_length=1,
        description='timm model name such as "vit_small_patch14_dinov2.lvd142m" or "vit_small_patch16_dinov3.lvd1689m"',
    )
    pretrained: NameOrPath = Field(
        "timm",
        description='"timm": weights that timm publishes, fetched when first used; "none": random weights; or a '
        "weights file (.safetensors, .pth or .pt) in timm's layout or as DINOv2 was published",
    )
    image_size: int | None = Field(
        None, ge=1, le=4096, description="image side in pixels, divisible by the patch; by default the model's own"
    )
    position_resize: Literal["timm", "dinov2"] = Field(
        "timm",
        description="how the positional embedding is brought to another image size: timm's way (bicubic, antialias) or "
        "as published for DINOv2 without registers (no antialias, at a scale that is a little larger)",
    )
    surgery_blocks: int = Field(0, ge=0, description="last vision blocks with V-V attention in frozen features")


def weights_at_hand() -> list[str]:
    """Published weights that lie on this machine, as timm calls them; `aakit doctor` lists them."""
    from .source import models_at_hand

    return models_at_hand()


@hookimpl
def register_backbones(register: Register) -> None:
    """Offer `timm`."""
    register("timm", f"{__name__}.backbone:TimmBackbone", TimmOptions)
