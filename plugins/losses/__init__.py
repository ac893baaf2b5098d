"""The losses (method: section 6). The engine weights and adds them."""

from pydantic import Field

from aaclip_kit import Options, Register, hookimpl


class FocalOptions(Options):
    """Focal loss of each level's probability map."""

    gamma: float = Field(2.0, ge=0, le=10, description="how much pixels that are already right are played down")


class DiceOptions(Options):
    """Dice loss of each level's abnormal channel."""

    smooth: float = Field(1.0, gt=0, description="added to numerator and denominator, in pixels")


class SegmentationOptions(FocalOptions, DiceOptions):
    """Focal loss plus dice of both channels, summed over the levels."""


class OrthogonalityOptions(Options):
    """Squared batch mean of the similarity of normal and abnormal text features."""


class ImageCrossEntropyOptions(Options):
    """Cross-entropy of the detection feature against the text feature."""


@hookimpl
def register_losses(register: Register) -> None:
    """Offer `segmentation`, `focal`, `dice`, `orthogonality` and `image_cross_entropy`."""
    register("segmentation", f"{__name__}.terms:Segmentation", SegmentationOptions)
    register("focal", f"{__name__}.terms:Focal", FocalOptions)
    register("dice", f"{__name__}.terms:Dice", DiceOptions)
    register("orthogonality", f"{__name__}.terms:Orthogonality", OrthogonalityOptions)
    register("image_cross_entropy", f"{__name__}.terms:ImageCrossEntropy", ImageCrossEntropyOptions)
