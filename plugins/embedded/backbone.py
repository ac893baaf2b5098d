"""The backbone `embedded`: open_clip's towers with the convolutional stem in the place of the first convolution."""

import json
from typing import Any

from open_clip import CLIP

from ..clip import ClipBackbone
from ..clip_weights import load_weights
from . import CONFIG, WEIGHTS, EmbeddedOptions
from .stem import PatchTokens


def untrained(image_size: int | None = None) -> Any:
    """The model with random weights, as pretraining begins."""
    config = json.loads(CONFIG.read_text(encoding="utf-8"))
    vision = config["vision_cfg"]
    vision["image_size"] = image_size or vision["image_size"]
    clip = CLIP(**config)
    clip.visual.conv1 = PatchTokens(vision["width"])
    return clip


class EmbeddedBackbone(ClipBackbone):
    """The model of this package with its weights. Raises `UserError` for weights of another version of it."""

    image_mean = (127 / 255,) * 3
    image_std = (128 / 255,) * 3

    def __init__(self, options: EmbeddedOptions) -> None:
        clip = untrained(options.image_size)
        load_weights(clip, WEIGHTS)
        super().__init__(clip, options.surgery_blocks)
