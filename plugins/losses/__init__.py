"""The losses (method: section 6). The engine weights and adds them."""

from typing import Literal

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl


class FocalOptions(Options):
    """Focal loss of each level's probability map."""

    gamma: float = Field(2.0, ge=0, le=10, description="how much pixels that are already right are played down")


class DiceOptions(Options):
    """Dice loss of each level's abnormal channel."""

    smooth: float = Field(1.0, gt=0, description="added to numerator and denominator, in pixels")


class ChannelDiceOptions(DiceOptions):
    """Dice loss of each level's channels."""

    channels: Literal["both", "abnormal"] = Field("both", description="the maps of both states, or the abnormal one's")
    batch_of_one: Literal["image", "rows"] = Field(
        "image",
        description="a batch of one image is taken whole, or, as some published code does, row by row of pixels",
    )


class SegmentationOptions(FocalOptions, DiceOptions):
    """Focal loss plus dice of both channels, summed over the levels."""


class OrthogonalityOptions(Options):
    """Squared batch mean of the similarity of normal and abnormal text features."""


class ImageFocalOptions(FocalOptions):
    """Focal loss of the whole image's probabilities."""


class ImageCrossEntropyOptions(Options):
    """Cross-entropy of the detection feature against the text feature."""


@hookimpl
def register_losses(register: Register) -> None:
    """Offer losses of maps, of text features and of the whole image."""
    register("segmentation", f"{__name__}.terms:Segmentation", SegmentationOptions)
    register("focal", f"{__name__}.terms:Focal", FocalOptions)
    register("dice", f"{__name__}.terms:Dice", ChannelDiceOptions)
    register("orthogonality", f"{__name__}.terms:Orthogonality", OrthogonalityOptions)
    register("image_focal", f"{__name__}.terms:ImageFocal", ImageFocalOptions)
    register("image_cross_entropy", f"{__name__}.terms:ImageCrossEntropy", ImageCrossEntropyOptions)
