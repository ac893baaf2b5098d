"""Losses of features: text orthogonality and the image label (method: section 6)."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from aaclip_kit import Loss

from . import ImageCrossEntropyOptions, OrthogonalityOptions


class Orthogonality(Loss):
    """Square of the batch mean of the cosine between the normal and the abnormal text feature."""

    needs = ("text_features",)

    def __init__(self, options: OrthogonalityOptions) -> None:
        super().__init__()

    def forward(self, *, text_features: Float[Tensor, "B E 2"]) -> dict[str, Tensor]:
        """Return the term `orthogonality`."""
        normal, abnormal = text_features.unbind(dim=-1)
        return {"orthogonality": (normal * abnormal).sum(dim=-1).mean() ** 2}


class ImageCrossEntropy(Loss):
    """Cross-entropy of the detection logits on the image label."""

    needs = ("detection_logits", "labels")
    over_batch = "mean"

    def __init__(self, options: ImageCrossEntropyOptions) -> None:
        super().__init__()

    def forward(self, *, detection_logits: Float[Tensor, "B 2"], labels: Int[Tensor, " B"]) -> dict[str, Tensor]:
        """Return the term `image_cross_entropy`."""
        return {"image_cross_entropy": cross_entropy(detection_logits, labels.long())}
