"""The convolutional stem: the first eleven blocks of EfficientNet-Lite0, frozen, with their norms folded in.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019); the Lite variants have no
squeeze-and-excitation and ReLU6 for swish.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

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

_TOGETHER = 3

NEAREST = 0.3
"""Part of an image's other patches that a patch is compared with: the most similar ones."""

DISTANCES = 2 * (len(READ) + 1)
"""Channels that tell distances: two for each of the blocks that are read, and for all together."""

CHANNELS = sum(BLOCKS[block][3] for block in READ) + DISTANCES


class SamePaddedConv(nn.Conv2d):
    """A convolution of a side that its stride divides; its output has that part of it.

    Where the padding is odd, the greater half goes to the right and below.
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, groups=groups)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out h w"]:
        """Pad with zeros, then convolve."""
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        if stride == 1:
            return functional.conv2d(x, self.weight, self.bias, padding=kernel // 2, groups=self.groups)
        before, after = (kernel - stride) // 2, (kernel - stride + 1) // 2
        padded = functional.pad(x, (before, after, before, after))
        return functional.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


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
        self.depthwise = SamePaddedConv(inner, inner, kernel, stride, groups=inner)
        self.project = Pointwise(inner, out)
        self.adds = stride == 1 and channels == out

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B out h w"]:
        """Run the block."""
        inner = x if self.expand is None else functional.relu6(self.expand(x), inplace=True)
        projected = self.project(functional.relu6(self.depthwise(inner), inplace=True))
        return projected + x if self.adds else projected


class Stem(nn.Module):
    """Images `[B, 3, S, S]`, scaled to -1 to 1, to patch features `[B, 240, S/8, S/8]`.

    Of each block that is read, a patch's channels are brought to a mean square of 1. The last eight say how far a
    patch is from the most similar ones of its own image, see `distances`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = SamePaddedConv(3, FIRST, 3, stride=2)
        widths = (FIRST, *(out for *_, out in BLOCKS))
        self.blocks = nn.ModuleList(InvertedResidual(w, *block) for w, block in zip(widths, BLOCKS, strict=False))

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C G G"]:
        """See the class. On a CPU few images go together, so that what is between the blocks stays in its caches."""
        return torch.cat([self._features(part) for part in images.split(len(images) if images.is_cuda else _TOGETHER)])

    def _features(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B C G G"]:
        large = functional.interpolate(images, scale_factor=2, mode="bicubic", align_corners=False)
        x = functional.relu6(self.first(large.contiguous(memory_format=torch.channels_last)), inplace=True)
        read = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in READ:
                part = functional.adaptive_avg_pool2d(x, images.shape[-1] // PATCH)
                read.append(functional.normalize(part, dim=1) * part.shape[1] ** 0.5)
        return torch.cat([*read, *(distances(part) for part in (*read, torch.cat(read, 1)))], 1)


def distances(features: Float[Tensor, "B C G G"]) -> Float[Tensor, "B 2 G G"]:
    """Mean cosine distance of each patch to the nearest 30 % of its image's other patches, times 8 and standardised.

    Standardised within the image: an image of one texture and one of many say which patch is the odd one alike.
    """
    unit = functional.normalize(features.flatten(2), dim=1)
    similar = unit.transpose(1, 2) @ unit
    count = max(1, round(NEAREST * (similar.shape[1] - 1)))
    # A patch is most similar to itself.
    distance = 1.0 - similar.topk(min(count + 1, similar.shape[1]), dim=-1).values[..., 1:].mean(-1)
    mean, deviation = distance.mean(1, keepdim=True), distance.std(1, keepdim=True, correction=0)
    both = torch.stack([8.0 * distance, (distance - mean) / (deviation + 1e-4)], 1)
    return both.unflatten(2, features.shape[2:])


class PatchTokens(nn.Module):
    """Images to patch tokens `[B, width, G, G]`: the frozen stem, and a linear layer that was trained on it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = Stem()
        self.linear = nn.Conv2d(CHANNELS, width, 1)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B width G G"]:
        """See the class."""
        return self.linear(self.stem(images))
