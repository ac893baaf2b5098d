"""The convolutional stem: the first eleven blocks of EfficientNet-Lite0, frozen, with their norms folded in.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019); the Lite variants have no
squeeze-and-excitation and ReLU6 for swish.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from aaclip_kit import patch_distances

from .memo import Memo, Walk, may_keep

PATCH = 8
"""Pixels of an image that a patch is wide and high: the stem sees it enlarged twice and halves it four times."""

FIRST = 32
BLOCKS: tuple[tuple[int, int, int, int], ...] = (
    *((3, 1, 1, 16), (3, 2, 6, 24), (3, 1, 6, 24), (5, 2, 6, 40), (5, 1, 6, 40), (3, 2, 6, 80), (3, 1, 6, 80)),
    *((3, 1, 6, 80), (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112)),
)
"""Kernel, stride, expansion and channels of each block."""

READ = (4, 7, 10)
"""Blocks whose output is read."""

TOGETHER = 4
"""Images that a CPU walks at once: so many that its threads have enough to share, so few that its caches hold them."""

DISTANCES = 2 * (len(READ) + 1)
"""Channels that tell distances: two for each of the blocks that are read, and for all together."""

WIDTHS = tuple(BLOCKS[block][3] for block in READ)
CHANNELS = sum(WIDTHS) + DISTANCES


class TurnedConv(nn.Conv2d):
    """TensorFlow's convolution, whose output has that part of a side which the stride divides, on a turned picture.

    Where the padding is odd, TensorFlow's greater half lies to the right and below. On a picture turned by half, with
    the kernel turned as well, that is to the left and above, where torch's own padding has it: nothing is copied.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, kernel // 2, groups=groups)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out h w"]:
        """Convolve."""
        return self._conv_forward(x, self.weight.flip(2, 3), self.bias)


class EnlargingConv(TurnedConv):
    """Bicubic enlargement to twice the size and a convolution of three pixels with a stride of 2: one of five pixels.

    Both are linear, and what they make of a pixel's surroundings does not depend on where it is, but for the last row
    and column, whose third pixel of the enlarged picture is TensorFlow's padding. In a turned picture they come first.
    """

    taps: Tensor

    def __init__(self, channels: int, out: int) -> None:
        super().__init__(channels, out, 3, 2)
        enlarged = functional.interpolate(torch.eye(5)[None, None], size=(10, 5), mode="bicubic", align_corners=False)
        three = enlarged[0, 0, 4:7]  # of the middle pixel, and the next one
        padded = three * torch.tensor([[1.0], [1.0], [0.0]])
        self.register_buffer("taps", torch.stack([three, padded]), persistent=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out H W"]:
        """Convolve."""
        # Products of double precision are none of autocast's.
        weight, taps = self.weight.double(), self.taps.double()
        kernels = torch.einsum("oiyx,rya,cxb->rcoiab", weight, taps, taps).flip(4, 5).to(self.weight.dtype)
        wide = functional.pad(x, (2, 2, 2, 2), mode="replicate").contiguous(memory_format=torch.channels_last)
        out = functional.conv2d(wide, kernels[0, 0], self.bias)
        out[:, :, :1] = functional.conv2d(wide[:, :, :5], kernels[1, 0], self.bias)
        out[..., :1] = functional.conv2d(wide[..., :5], kernels[0, 1], self.bias)
        out[:, :, :1, :1] = functional.conv2d(wide[:, :, :5, :5], kernels[1, 1], self.bias)
        return out


class Pointwise(nn.Linear):
    """A convolution of one pixel: a product with the channels, which lie last in memory."""

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out H W"]:
        """Mix the channels of each pixel."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class InvertedResidual(nn.Module):
    """Expand, convolve each channel, project; the input is added where the size stays."""

    def __init__(self, channels: int, kernel: int, stride: int, expansion: int, out: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = Pointwise(channels, inner) if expansion > 1 else None
        self.depthwise = TurnedConv(inner, inner, kernel, stride, groups=inner)
        self.project = Pointwise(inner, out)
        self.adds = stride == 1 and channels == out

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out h w"]:
        """Run the block."""
        inner = x if self.expand is None else functional.relu6(self.expand(x), inplace=True)
        projected = self.project(functional.relu6(self.depthwise(inner), inplace=True))
        return projected.add_(x) if self.adds else projected


class Stem(nn.Module):
    """Images `[B, 3, S, S]`, scaled to -1 to 1, to patch features `[B, 240, S/8, S/8]`.

    Of each block that is read, a patch's channels are brought to a mean square of 1. The last eight say how far a
    patch is from the most similar ones of its own image, see `distances`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = EnlargingConv(3, FIRST)
        widths = (FIRST, *(out for *_, out in BLOCKS))
        self.blocks = nn.ModuleList(InvertedResidual(w, *block) for w, block in zip(widths, BLOCKS, strict=False))

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C G G"]:
        """See the class.

        On a CPU images go in parts of one size, since the last bits of a product depend on how many rows it has: what
        is found in an image is the same among any `TOGETHER` or more. Fewer are walked as they are.
        """
        return _in_parts(images, self._all)

    def features(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C G G"]:
        """All channels but the distances, with the same bits."""
        return _in_parts(images, self._walk)

    def _all(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C G G"]:
        features = self._walk(images)
        parts = (*features.split(WIDTHS, dim=1), features)
        return torch.cat([features, *(distances(part) for part in parts)], dim=1)

    def _walk(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C G G"]:
        x, read = functional.relu6(self.first(images.flip(2, 3)), inplace=True), []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in READ:
                part = functional.adaptive_avg_pool2d(x, images.shape[-1] // PATCH).flip(2, 3)
                read.append(functional.normalize(part, dim=1) * part.shape[1] ** 0.5)
        return torch.cat(read, dim=1)


def _in_parts(images: Float[Tensor, "B 3 S S"], walk: Walk) -> Float[Tensor, "B C G G"]:
    if images.is_cuda or len(images) < TOGETHER:
        return walk(images)
    return torch.cat([walk(part) for part in filled(images).split(TOGETHER)])[: len(images)]


def filled(images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "fixed 3 S S"]:
    """The images, and the first of them again and again, to a multiple of `TOGETHER`."""
    spare = -len(images) % TOGETHER
    return torch.cat([images, images[:1].expand(spare, -1, -1, -1)]) if spare else images


def distances(features: Float[Tensor, "B C G G"]) -> Float[Tensor, "B 2 G G"]:
    """Mean cosine distance of each patch to the nearest 30 % of its image's other patches, times 8 and standardised.

    Standardised within the image: an image of one texture and one of many say which patch is the odd one alike.
    """
    distance = patch_distances(features.flatten(2).transpose(1, 2))
    mean, deviation = distance.mean(1, keepdim=True), distance.std(1, keepdim=True, correction=0)
    both = torch.stack([8.0 * distance, (distance - mean) / (deviation + 1e-4)], 1)
    return both.unflatten(2, features.shape[2:])


class PatchTokens(nn.Module):
    """Images to patch tokens `[B, width, G, G]`: the frozen stem, and a linear layer that was trained on it.

    The stem's features of images that come again as they were are kept, see `Memo`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = Stem()
        self.linear = nn.Conv2d(CHANNELS, width, 1)
        self.memo = Memo()

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B width G G"]:
        """See the class."""
        return self.linear(self._stem(images, self.stem, CHANNELS))

    def features(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C G G"]:
        """The stem's features without its distances."""
        return self._stem(images, self.stem.features, CHANNELS - DISTANCES)

    def _stem(self, images: Float[Tensor, "B 3 S S"], walk: Walk, channels: int) -> Float[Tensor, "B C G G"]:
        """The first channels; what `walk` makes is kept where it is all of them."""
        if len(images) < TOGETHER or not may_keep(images):
            found = walk(images)
        else:
            weights, keep = tuple(self.stem.parameters()), channels == CHANNELS
            rows = self.memo.features(images, weights, lambda some: walk(filled(some))[: len(some)], keep=keep)
            found = torch.stack([one[:channels] for one in rows])
        # In one order, by which torch chooses how to multiply.
        return found.contiguous(memory_format=torch.channels_last)
