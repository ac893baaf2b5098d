"""Pictures inside a graph: Pillow's resize to the last bit, and the loader's normalisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from aaclip_kit.data.decode import resized
from aaclip_kit.data.loader import Pixels
from aaclip_kit.export.picture_input import PictureInput

SIZES = [
    *((48, 48), (20, 31), (333, 97), (48, 301), (1024, 48), (97, 97), (30, 60), (20, 44)),
    # Pillow begins with the columns where a picture is higher than that.
    *((90, 131), (90, 132), (90, 133)),
]
PIXELS = Pixels(48, (0.48, 0.45, 0.4), (0.27, 0.26, 0.3))


def picture(width: int, height: int) -> np.ndarray:
    """Noise, whose resized edges overshoot in both directions."""
    random = np.random.default_rng(width)
    return random.choice(np.array([0, 3, 128, 250, 255], np.uint8), (height, width, 3))


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_resized_as_pillow_does_to_the_last_bit(size: tuple[int, int]) -> None:
    given = picture(*size)
    found = PictureInput(PIXELS)(torch.from_numpy(given)[None])[0]
    mean, std = (torch.tensor(of, dtype=torch.float32)[:, None, None] for of in (PIXELS.mean, PIXELS.std))
    values = torch.from_numpy(np.array(resized(Image.fromarray(given), 48))).permute(2, 0, 1).float()
    assert torch.equal(found, (values / 255 - mean) / std)


def test_pictures_of_a_batch_are_resized_each_by_itself() -> None:
    both = np.stack([picture(64, 50), 255 - picture(64, 50)])
    reader = PictureInput(PIXELS)
    assert torch.equal(reader(torch.from_numpy(both))[1:], reader(torch.from_numpy(both[1:])))
