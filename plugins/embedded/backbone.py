"""The backbone `embedded`: open_clip's towers with the convolutional stem in the place of the first convolution."""

import json
from typing import Any, Final

import torch
from jaxtyping import Float
from open_clip import CLIP
from torch import Tensor

from aaclip_kit import UserError

from ..clip import ClipBackbone
from ..clip_weights import load_weights
from ..named_weights import quiet
from . import CONFIG, WEIGHTS, EmbeddedOptions
from .stem import PatchTokens

_MEND: Final = "restore the file that comes with this version: install aaclip_kit again, or check it out in a clone"


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
        # Building draws random weights; the run's own random stream must not depend on the backbone.
        with torch.random.fork_rng(devices=[]), quiet():
            clip = untrained(options.image_size)
        _load(clip)
        super().__init__(clip, options.surgery_blocks)

    def rule_features(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N C"]:
        """The stem's features without its distances: the tokens are made by a layer that has learnt of defects."""
        return self.clip.visual.conv1.features(images).flatten(2).transpose(1, 2)


def _load(clip: Any) -> None:
    if next(clip.parameters()).is_meta:  # built for its names and shapes alone
        return
    try:
        if not WEIGHTS.is_file():
            raise UserError("does not exist", where=str(WEIGHTS))
        load_weights(clip, WEIGHTS)
    except UserError as error:
        raise UserError(error.problem, where=error.where, fix=_MEND) from None
