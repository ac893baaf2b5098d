"""The reference `patch_memory`: the patches of normal images, and how far those of an image are from them."""

from typing import Literal

from pydantic import Field, field_validator

from aaclip_kit import Indices, Options, Register, hookimpl


class PatchMemoryOptions(Options):
    """Nearest patches of normal images by cosine, at several levels, added to the head's map or alone."""

    levels: Indices | None = Field(
        None, min_length=1, description="levels whose patches are remembered, in blocks; by default model.levels"
    )
    tokens: Literal["raw", "normed", "projected"] = Field(
        "normed",
        description="patch tokens that are compared: as they leave the block; after the tower's last norm; or after "
        "the backbone's own projection too",
    )
    coreset: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of each image's patches that is kept, chosen greedily so that the others are near; 1 keeps "
        "all",
    )
    seed: int = Field(0, ge=0, le=2**31, description="draws where the choice of that share begins")
    neighbours: int = Field(1, ge=1, le=100, description="nearest patches that a patch's distance is the mean over")
    combine: Literal["add", "alone"] = Field(
        "add", description="the head's map and image score with the memory's added; or the memory's alone"
    )
    weight: float = Field(
        0.5, gt=0, le=100, description="with combine = add: the memory's part, in the head's own deviations"
    )
    sigma: float = Field(
        0.5,
        ge=0,
        le=16,
        description="standard deviation, in patches, of the Gaussian that smooths the memory's map where "
        "evaluation.blur is on; 0 smooths nothing",
    )

    @field_validator("levels")
    @classmethod
    def _ascending(cls, levels: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if levels is not None and list(levels) != sorted(set(levels)):
            raise ValueError("needs ascending numbers, each once")
        return levels


@hookimpl
def register_references(register: Register) -> None:
    """Offer `patch_memory`."""
    register("patch_memory", f"{__name__}.memory:PatchMemory", PatchMemoryOptions)
