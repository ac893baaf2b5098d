"""Training augmentation (method: section 8). Every draw comes from a generator that the caller seeds for each image."""

import math

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageEnhance
from torch import Tensor
from torch.nn import functional

from ..experiment.schema import AugmentationTable


def jitter_color(picture: Image.Image, table: AugmentationTable, random: np.random.Generator) -> Image.Image:
    """Brightness, contrast and saturation, each with probability `color`, by a factor within 1 +- `jitter`."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        acts, factor = random.random() < table.color, 1 + table.jitter * random.uniform(-1, 1)
        if acts:
            picture = enhance(picture).enhance(factor)
    return picture


def move(
    image: Float[Tensor, "C S S"], mask: Float[Tensor, "1 S S"], table: AugmentationTable, random: np.random.Generator
) -> tuple[Float[Tensor, "C S S"], Float[Tensor, "1 S S"]]:
    """Rotation, translation and flips of image and mask together: nearest neighbour, filled with 0.

    The image is normalised already, so what moves in from outside is the mean colour. It may have no channel, where
    the mask alone is wanted.
    """
    both = torch.cat([image, mask])
    draws = random.random(4) < table.geometry
    angle = math.radians(table.rotation) * random.uniform(-1, 1)
    shift = table.translation * random.uniform(-1, 1, size=2)
    if draws[0] or draws[1]:
        both = _affine(both, angle if draws[0] else 0.0, shift if draws[1] else np.zeros(2))
    for flips, axis in ((draws[2], 2), (draws[3], 1)):
        both = both.flip(axis) if flips else both
    return both[:-1], both[-1:]


def _affine(both: Float[Tensor, "C S S"], angle: float, shift: np.ndarray) -> Float[Tensor, "C S S"]:
    """Rotate about the centre, then translate by `shift`, a fraction of the side."""
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = (-2 * shift).tolist()
    inverse = torch.tensor([[cosine, sine, cosine * x + sine * y], [-sine, cosine, -sine * x + cosine * y]])
    grid = functional.affine_grid(inverse[None], [1, *both.shape], align_corners=False)
    return functional.grid_sample(both[None], grid, mode="nearest", padding_mode="zeros", align_corners=False)[0]
