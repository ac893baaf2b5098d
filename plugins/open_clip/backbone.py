"""The backbone `open_clip`: what may be built, and building it."""

from typing import Any

import open_clip
import torch
from open_clip import CLIP

from aaclip_kit import UserError

from ..clip import ClipBackbone, QuickGELU
from ..clip_weights import load_weights
from ..named_weights import quiet
from ..patches import check_side
from . import OpenClipOptions
from .source import Source, find_source, unsupported

_SURGERY_SHARE = 19 / 24
_RANDOM_SEED = 0
_VOCABULARY = 49408


class OpenClipBackbone(ClipBackbone):
    """A CLIP that open_clip builds. Random weights ("none") are the same in every process.

    Raises `UserError` for a model, a size or weights that cannot be.
    """

    def __init__(self, options: OpenClipOptions) -> None:
        source = find_source(options)
        clip = _build(_checked_config(source, options))
        if source.weights is not None:
            load_weights(clip, source.weights, options.position_resize)
        blocks, depth = options.surgery_blocks, int(clip.visual.transformer.layers)
        super().__init__(clip, round(depth * _SURGERY_SHARE) if blocks is None else blocks)
        self.image_mean, self.image_std = source.mean, source.std


def _checked_config(source: Source, options: OpenClipOptions) -> dict[str, Any]:
    """The configuration with image size and activation put in. Raises `UserError` where the model cannot be walked."""
    config = source.config
    if odd := unsupported(config):
        problem = f"{options.model} is not a plain vision-transformer CLIP ({', '.join(odd[:4])})"
        fix = "choose a model such as ViT-B-32, ViT-B-16, ViT-L-14, ViT-L-14-336 or ViT-H-14"
        raise UserError(problem, where="backbone.model", fix=fix)
    vocabulary = config.get("text_cfg", {}).get("vocab_size", _VOCABULARY)
    if vocabulary != _VOCABULARY:
        problem = f"a vocabulary of {vocabulary} tokens, where CLIP's tokenizer has {_VOCABULARY}"
        raise UserError(problem, where="backbone.model", fix="choose a model with CLIP's own tokenizer")
    quick = {"gelu": False, "quick_gelu": True, "auto": source.quick_gelu}[options.activation]
    if quick is None:
        problem = f"weights of {options.model} exist with both activations, and a file does not say which it needs"
        fix = 'set it to "quick_gelu" for OpenAI\'s weights, or to what the file was trained with'
        raise UserError(problem, where="backbone.activation", fix=fix)
    vision = {"image_size": 224, "patch_size": 16, **config.get("vision_cfg", {})}
    vision["image_size"] = options.image_size or vision["image_size"]
    check_side(vision["image_size"], vision["patch_size"])
    return {**config, "quick_gelu": quick, "vision_cfg": vision}


def _build(config: dict[str, Any]) -> Any:
    # Building draws random weights; the run's own random stream must not depend on the backbone.
    try:
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(_RANDOM_SEED)
            model = CLIP(**config)
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, AssertionError, RuntimeError) as error:
        raise UserError(f"open_clip cannot build this model: {error}", where="backbone.model") from None
    for name, module in list(model.named_modules()):
        if type(module) is open_clip.transformer.QuickGELU:
            model.set_submodule(name, QuickGELU())
    return model
