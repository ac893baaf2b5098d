"""What the model is worth without training, measured on validation surfaces. Nothing here trains it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import open_clip
import torch
from aaclip_kit_plugins.synthetic import VALIDATION_SURFACES
from aaclip_kit_plugins.synthetic.photographs import materials_of, photographs_of
from torch import Tensor
from torch.nn import functional as F

from .captions import state_of
from .difficulty import auroc
from .pictures import Picture, blended, drawn, generator
from .towers import stem_features, text_features, tokens_by_level

_SEED = 5_000_000
_EACH = 60  # pictures of a class


@cache
def _classes() -> dict[str, tuple[Picture, ...]]:
    """Pictures of each validation class, by "drawn NAME" or "blended NAME"."""
    found: dict[str, tuple[Picture, ...]] = {}
    for index, surface in enumerate(VALIDATION_SURFACES):
        found[f"drawn {surface}"] = tuple(drawn(generator(_SEED, 1, index, k), [surface], 0.5) for k in range(_EACH))
    for index, material in enumerate(materials_of("validation")):
        given = [(material.replace("_", " "), pixels) for pixels in photographs_of(material)]
        found[f"blended {material}"] = tuple(blended(generator(_SEED, 2, index, k), given, 0.5) for k in range(_EACH))
    return found


_features: dict[str, Tensor] = {}


def _direction(model: Any, noun: str) -> Tensor:
    tokenize, rng = open_clip.get_tokenizer("ViT-B-32"), generator(_SEED, 3)
    sides = []
    for damaged in (False, True):
        texts = [state_of(rng, noun, damaged) for _ in range(24)]
        sides.append(F.normalize(text_features(model, tokenize(texts)).mean(0), dim=0))
    return sides[1] - sides[0]


@torch.no_grad()
def measure(model: Any, levels: tuple[int, ...]) -> dict[str, float]:
    """Mean AUROC over the classes of each kind: pixels, and images by the map's largest value."""
    figures: dict[str, list[float]] = {}
    for name, pictures in _classes().items():
        kind, _, noun = name.partition(" ")
        if name not in _features:
            _features[name] = stem_features(model.visual.conv1.stem, np.stack([p.image for p in pictures]))
        tokens = tokens_by_level(model.visual, _features[name].float(), levels)
        direction = _direction(model, noun.replace("_", " "))
        maps = torch.stack([F.normalize(x @ model.visual.proj, dim=-1) @ direction for x in tokens.values()])
        masks = np.stack([p.mask for p in pictures])
        for figure, value in _aurocs(maps.mean(0), masks).items():
            figures.setdefault(f"{kind}_{figure}", []).append(value)
    return {name: float(np.mean(values)) for name, values in figures.items()}


def _aurocs(mean: Tensor, masks: Any) -> dict[str, float]:
    side = round((mean.shape[1] - 1) ** 0.5)
    grid = mean[:, 1:].reshape(-1, 1, side, side)
    maps = F.interpolate(grid, size=masks.shape[1:], mode="bilinear", align_corners=True)[:, 0].numpy()
    labels = masks.any((1, 2))
    return {
        "pixel": auroc(maps.ravel(), masks.ravel()),
        "peak": auroc(maps.max((1, 2)), labels),
    }
