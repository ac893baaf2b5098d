"""The backbone `embedded`: a small CLIP of our own, so that a first run needs no download.

A frozen convolutional stem that has seen ImageNet, and two small transformers that have seen drawn and blended
surfaces; `docs/guide/embedded-model.md` describes it.
"""

from pathlib import Path

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl

CONFIG = Path(__file__).with_name("embedded.json")
"""Its sizes, in the form of open_clip's model configs."""

WEIGHTS = Path(__file__).with_name("embedded.safetensors")
"""Its weights in float16."""


class EmbeddedOptions(Options):
    """The small model in this package, frozen."""

    image_size: int = Field(
        112,
        ge=16,
        le=1024,
        multiple_of=8,
        description="image side in pixels, a multiple of 8; the model was trained at 112",
    )
    surgery_blocks: int = Field(0, ge=0, description="last vision blocks with V-V attention in frozen features")


@hookimpl
def register_backbones(register: Register) -> None:
    """Offer `embedded`."""
    register("embedded", f"{__name__}.backbone:EmbeddedBackbone", EmbeddedOptions)
