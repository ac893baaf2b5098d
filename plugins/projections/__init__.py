"""The head `projections`: a trained projection of each level's patches, and one for the whole image."""

from typing import Literal

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl


class ProjectionsOptions(Options):
    """Trained projections of each level and of the whole image (AA-CLIP)."""

    start: Literal["random", "backbone"] = Field(
        "random",
        description="what training starts from: projections drawn by the seed, as published; or the backbone's",
    )
    activation: bool = Field(False, description="LeakyReLU after each projection")


@hookimpl
def register_heads(register: Register) -> None:
    """Offer `projections`."""
    register("projections", f"{__name__}.head:Projections", ProjectionsOptions)
