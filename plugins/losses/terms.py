"""The losses: of probability maps against masks (focal, dice, both), and of features (orthogonality, the image label).

Source: method: section 6."""

from abc import abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.functional import cross_entropy

from aaclip_kit import Loss

from . import (
    ChannelDiceOptions,
    FocalOptions,
    ImageCrossEntropyOptions,
    ImageFocalOptions,
    OrthogonalityOptions,
    SegmentationOptions,
)  # fmt: skip

ChannelMaps = Float[Tensor, "B 2 S S"]
"""Maps of (normal, abnormal)."""

Masks = Float[Tensor, "B 1 S S"]
Plane = Float[Tensor, "B S S"]
Items = Float[Tensor, "items H W"]
"""Images of one channel, or the pixel rows of one image."""

Scalar = Float[Tensor, ""]

_EDGE = 1e-5
"""Targets are kept this far from 0 and 1, and the probability of the right channel this far from 0."""

_LEAST_WRONG = 1e-12
"""pt may reach 1, or exceed it by rounding, where a fractional power of 1 - pt or its gradient would not be finite."""


def focal_loss(probabilities: ChannelMaps, masks: Masks, gamma: float) -> Scalar:
    """Mean over pixels of `-(1 - pt)^gamma log pt`, pt the probability of the right channel."""
    return _focal(_right(probabilities, _both(masks)), gamma)


def dice_loss(channel: Items, target: Items, smooth: float) -> Scalar:
    """`1 - mean over items of (2 sum(p m) + smooth) / (sum p + sum m + smooth)`."""
    upper, lower = _dice_sums(channel, target, smooth)
    return 1 - (upper / lower).mean()


def _both(masks: Masks) -> ChannelMaps:
    """The targets of (normal, abnormal)."""
    return torch.cat([1 - masks, masks], dim=1)


def _right(probabilities: ChannelMaps, targets: ChannelMaps) -> Plane:
    """Probability of the right channel."""
    return (targets.clamp(_EDGE, 1 - _EDGE) * probabilities).sum(dim=1) + _EDGE


def _focal(right: Tensor, gamma: float) -> Scalar:
    return -((1 - right).clamp(min=_LEAST_WRONG) ** gamma * right.log()).mean()


def _dice_sums(maps: Float[Tensor, "*C H W"], targets: Float[Tensor, "*C H W"], smooth: float) -> tuple[Tensor, Tensor]:
    """Numerator and denominator, of each map."""
    overlap = (maps * targets).sum(dim=(-2, -1))
    total = maps.sum(dim=(-2, -1)) + targets.sum(dim=(-2, -1))
    return 2 * overlap + smooth, total + smooth


class LevelLoss(Loss):
    """A loss of each level's map; its terms are named `level_6_focal` and the like."""

    needs = ("level_probabilities", "masks")
    over_batch = "mean"

    def forward(self, *, level_probabilities: dict[int, ChannelMaps], masks: Masks) -> dict[str, Tensor]:
        """Return every term of every level it is given, in single precision at least."""
        terms: dict[str, Tensor] = {}
        for level, probabilities in level_probabilities.items():
            exact = probabilities.to(torch.promote_types(probabilities.dtype, torch.float32))
            named = self.terms(exact, masks.to(exact.dtype))
            terms |= {f"level_{level}_{name}": value for name, value in named.items()}
        return terms

    @abstractmethod
    def terms(self, probabilities: ChannelMaps, masks: Masks) -> dict[str, Scalar]:
        """The terms of one level by name."""


class Focal(LevelLoss):
    """Focal loss (Lin et al. 2017) of the two-channel map."""

    def __init__(self, options: FocalOptions) -> None:
        super().__init__()
        self.gamma = options.gamma

    def terms(self, probabilities: ChannelMaps, masks: Masks) -> dict[str, Scalar]:
        """Focal loss of one level."""
        return {"focal": focal_loss(probabilities, masks, self.gamma)}


class Dice(LevelLoss):
    """Dice loss of the normal channel against what is sound, and of the abnormal channel against the mask."""

    def __init__(self, options: ChannelDiceOptions) -> None:
        super().__init__()
        self.smooth, self.both, self.rows = options.smooth, options.channels == "both", options.batch_of_one == "rows"

    def terms(self, probabilities: ChannelMaps, masks: Masks) -> dict[str, Scalar]:
        """The dice losses of one level."""
        (normal, abnormal), mask = probabilities.unbind(dim=1), masks.squeeze(1)
        terms = {"dice_normal": self._dice(normal, 1 - mask)} if self.both else {}
        return terms | {"dice_abnormal": self._dice(abnormal, mask)}

    def _dice(self, channel: Plane, target: Plane) -> Scalar:
        if self.rows and len(channel) == 1:
            channel, target = channel.transpose(0, 1), target.transpose(0, 1)
        return dice_loss(channel, target, self.smooth)


class Segmentation(LevelLoss):
    """The segmentation loss of AA-CLIP: focal and both dice losses, summed over the levels."""

    def __init__(self, options: SegmentationOptions) -> None:
        super().__init__()
        self.gamma, self.smooth = options.gamma, options.smooth

    def terms(self, probabilities: ChannelMaps, masks: Masks) -> dict[str, Scalar]:
        """Focal and dice losses of one level."""
        values = _FocalAndDice.apply(probabilities, masks, self.gamma, self.smooth)
        return dict(zip(("focal", "dice_normal", "dice_abnormal"), values, strict=True))


class _FocalAndDice(Function):
    """`focal_loss` and `dice_loss` of both channels, with their gradient written out.

    These are passes over full-size maps, level by level; autograd through the formulas makes three times as many.
    """

    @staticmethod
    def forward(ctx: Any, probabilities: ChannelMaps, masks: Masks, gamma: float, smooth: float) -> tuple[Tensor, ...]:
        targets = _both(masks)
        right = _right(probabilities, targets)
        upper, lower = _dice_sums(probabilities, targets, smooth)
        ctx.save_for_backward(targets, right, upper, lower)
        ctx.gamma = gamma
        normal, abnormal = 1 - (upper / lower).mean(dim=0)
        return _focal(right, gamma), normal, abnormal

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, focal: Tensor, normal: Tensor, abnormal: Tensor) -> tuple[Tensor, None, None, None]:
        targets, right, upper, lower = ctx.saved_tensors
        wrong = 1 - right
        held = wrong.clamp(min=_LEAST_WRONG)
        slope = ctx.gamma * held ** (ctx.gamma - 1) * right.log() * (wrong >= _LEAST_WRONG) - held**ctx.gamma / right
        slope *= focal / right.numel()
        gradient = targets.clamp(_EDGE, 1 - _EDGE).mul_(slope[:, None])
        each = torch.stack([normal, abnormal]) / (len(right) * lower)
        gradient.addcmul_(targets, (-2 * each)[..., None, None])
        gradient += (each * upper / lower)[..., None, None]
        return gradient, None, None, None


class Orthogonality(Loss):
    """Square of the batch mean of the cosine between the normal and the abnormal text feature."""

    needs = ("text_features",)

    def __init__(self, options: OrthogonalityOptions) -> None:
        super().__init__()

    def forward(self, *, text_features: Float[Tensor, "B E 2"]) -> dict[str, Tensor]:
        """Return the term `orthogonality`."""
        normal, abnormal = text_features.unbind(dim=-1)
        return {"orthogonality": (normal * abnormal).sum(dim=-1).mean() ** 2}


class ImageFocal(Loss):
    """Focal loss of the softmax of the detection logits on the image label."""

    needs = ("detection_logits", "labels")
    over_batch = "mean"

    def __init__(self, options: ImageFocalOptions) -> None:
        super().__init__()
        self.gamma = options.gamma

    def forward(self, *, detection_logits: Float[Tensor, "B 2"], labels: Int[Tensor, " B"]) -> dict[str, Tensor]:
        """Return the term `image_focal`."""
        exact = detection_logits.to(torch.promote_types(detection_logits.dtype, torch.float32)).softmax(dim=1)
        targets = functional.one_hot(labels.long(), 2).to(exact.dtype)
        return {"image_focal": _focal((targets.clamp(_EDGE, 1 - _EDGE) * exact).sum(dim=1) + _EDGE, self.gamma)}


class ImageCrossEntropy(Loss):
    """Cross-entropy of the detection logits on the image label."""

    needs = ("detection_logits", "labels")
    over_batch = "mean"

    def __init__(self, options: ImageCrossEntropyOptions) -> None:
        super().__init__()

    def forward(self, *, detection_logits: Float[Tensor, "B 2"], labels: Int[Tensor, " B"]) -> dict[str, Tensor]:
        """Return the term `image_cross_entropy`."""
        return {"image_cross_entropy": cross_entropy(detection_logits, labels.long())}
