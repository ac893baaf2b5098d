"""What the features are worth, measured on validation surfaces. Nothing here trains the model.

The probe is a ridge regression from frozen patch tokens to masks, fitted on drawings of the training surfaces.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import open_clip
import torch
from aaclip_kit_plugins.synthetic import SURFACES, TRAIN_SURFACES, VALIDATION_SURFACES, Drawing
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .difficulty import auroc, sample
from .heads import mean_token
from .towers import pixels, text_features, tokens_by_level

_SEED = 5_000_000
_DAMAGED = ("a damaged {}", "a broken {}", "a {} with flaw", "a {} with defect", "a {} with damage")


@cache
def _drawings() -> tuple[tuple[Drawing, ...], tuple[Drawing, ...]]:
    fitting = [d for s in TRAIN_SURFACES for d in sample(s, 20, first_seed=_SEED)]
    judging = [d for s in VALIDATION_SURFACES for d in sample(s, 40, first_seed=_SEED)]
    return tuple(fitting), tuple(judging)


def _tokens(model: Any, drawings: tuple[Drawing, ...], levels: tuple[int, ...]) -> dict[int, Tensor]:
    chunks = []
    for start in range(0, len(drawings), 32):
        images = pixels(np.stack([d.image for d in drawings[start : start + 32]]))
        corner = torch.zeros(len(images), 2, dtype=torch.long)
        chunks.append(tokens_by_level(model.visual, images, corner, levels))
    return {level: torch.cat([chunk[level] for chunk in chunks]) for level in levels}


def _mean_auroc(drawings: tuple[Drawing, ...], maps: NDArray[np.float32]) -> tuple[float, float]:
    """Pixel and image AUROC (maximum of the map), means over the surfaces."""
    pixel, image = [], []
    for surface in sorted({d.surface for d in drawings}):
        chosen = [k for k, d in enumerate(drawings) if d.surface == surface]
        masks = np.stack([drawings[k].mask for k in chosen])
        pixel.append(auroc(maps[chosen].ravel(), masks.ravel()))
        image.append(auroc(maps[chosen].max((1, 2)), np.asarray(masks.any((1, 2)))))
    return float(np.mean(pixel)), float(np.mean(image))


def _upsampled(scores: Tensor, size: int) -> NDArray[np.float32]:
    side = round(scores.shape[1] ** 0.5)
    grid = scores.view(-1, 1, side, side)
    return F.interpolate(grid, size=(size, size), mode="bilinear", align_corners=True)[:, 0].numpy()


def _ridge(features: Tensor, target: Tensor) -> Tensor:
    gram = features.T @ features + 1e-3 * len(features) * torch.eye(features.shape[1])
    weights: Tensor = torch.linalg.solve(gram, features.T @ target)
    return weights


def _prompts(model: Any) -> dict[str, Tensor]:
    """Surface -> text features [E, 2], normal and abnormal, of the method's plain prompts."""
    tokenize = open_clip.get_tokenizer("ViT-B-32")
    found = {}
    for surface in VALIDATION_SURFACES:
        sides = []
        for forms in (("{}", "a {}", "the {}"), _DAMAGED):
            states = [form.format(SURFACES[surface].title) for form in forms]
            texts = [template.format(state) for state in states for template in ("{}.", "a photo of {}.")]
            sides.append(F.normalize(text_features(model, tokenize(texts)).mean(0), dim=0))
        found[surface] = torch.stack(sides, 1)
    return found


def _zero_shot(model: Any, tokens: dict[int, Tensor], judging: tuple[Drawing, ...]) -> dict[str, float]:
    prompts = _prompts(model)
    text = torch.stack([prompts[d.surface] for d in judging])
    maps = torch.zeros(())
    for level in tokens.values():
        cosines = F.normalize(level @ model.visual.proj, dim=-1) @ text
        maps = maps + cosines[:, 1:, 1] - cosines[:, 1:, 0]
    last = F.normalize(tokens[max(tokens)][:, 0] @ model.visual.proj, dim=-1)[:, None] @ text
    margin = (last[:, 0, 1] - last[:, 0, 0]).numpy()
    frozen_pixel, _ = _mean_auroc(judging, _upsampled(maps, judging[0].image.shape[0]))
    return {"frozen_map_pixel": frozen_pixel, "prompt_image": _image_auroc(judging, margin)}


def _image_auroc(judging: tuple[Drawing, ...], scores: NDArray[np.float32]) -> float:
    maps = np.broadcast_to(scores[:, None, None], (len(scores), *judging[0].mask.shape))
    return _mean_auroc(judging, maps)[1]


def _from_mean_token(seen: Tensor, fitting: tuple[Drawing, ...], unseen: Tensor, judging: tuple[Drawing, ...]) -> float:
    """Image AUROC of a ridge regression from the mean patch token to whether anything is wrong."""
    known, target = mean_token(seen), torch.tensor([float(d.defect is not None) for d in fitting])
    weights = _ridge(known - known.mean(0), target - target.mean())
    return _image_auroc(judging, (mean_token(unseen) @ weights).numpy())


@torch.no_grad()
def measure(model: Any, heads: Any, levels: tuple[int, ...]) -> dict[str, float]:
    """AUROC figures on the validation surfaces, by name."""
    fitting, judging = _drawings()
    seen, unseen = _tokens(model, fitting, levels), _tokens(model, judging, levels)
    masks = torch.from_numpy(np.stack([d.mask for d in fitting])).float()[:, None]
    target = F.avg_pool2d(masks, model.visual.patch_size[0]).flatten(1).clamp(max=0.4).flatten()
    size = judging[0].image.shape[0]
    figures: dict[str, float] = {}
    for name, chosen in [*((f"probe_{level}", (level,)) for level in levels), ("probe", levels)]:
        known = torch.cat([seen[level][:, 1:] for level in chosen], -1).flatten(0, 1)
        mean = known.mean(0)
        weights = _ridge(known - mean, target - target.mean())
        scores = (torch.cat([unseen[level][:, 1:] for level in chosen], -1) - mean) @ weights
        figures[f"{name}_pixel"], figures[f"{name}_image"] = _mean_auroc(judging, _upsampled(scores, size))
    last = unseen[max(levels)]
    figures["mean_image"] = _from_mean_token(seen[max(levels)], fitting, last, judging)
    figures["head_image"] = _image_auroc(judging, -heads.kind(last[:, 0]).log_softmax(-1)[:, -1].numpy())
    patch_scores = heads.patch[str(max(levels))](last[:, 1:])[..., -1]
    figures["head_pixel"], _ = _mean_auroc(judging, _upsampled(patch_scores, size))
    return figures | _zero_shot(model, unseen, judging)
