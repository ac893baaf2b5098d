"""AnomalyDINO: memory, distances, masks, maps and scores, from features of a naive DINOv2 of the test's own.

Pictures that are not square are a naive form of the test's too: the toolkit shows a backbone square ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.anomaly_dino import AnomalyDinoOptions
from aaclip_kit_plugins.anomaly_dino.memory import AnomalyDino, farthest, first_component
from PIL import Image
from torch import Tensor
from torch.nn.functional import gelu, interpolate, layer_norm, scaled_dot_product_attention

from aaclip_kit import (
    Answer,
    Backbone,
    Bank,
    ImageTokens,
    NormalScores,
    ReferenceSetting,
    Scores,
    Tower,
    gaussian_filter,
    nearest,
    unit,
)
from aaclip_kit.evaluation.class_metrics import ClassMetrics

from .peer import Peer

METHOD = "anomalydino"
WIDTH, DEPTH, HEADS, PATCH, TRAINED = 384, 12, 6, 14, 37
GAINS = ("norm1.weight", "norm2.weight", "norm.weight", "ls1.gamma", "ls2.gamma")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DISTANCES = 1e-4
METRICS = ("pixel_aupro", "pixel_auroc", "pixel_f1max", "image_auroc", "image_ap", "image_f1max")
IMAGES, SIDE = 12, 40
"""What the metrics' maps are of."""


@dataclass
class Dino:
    """The published tower with the recipe's weights, computed plainly."""

    peer: Peer

    def weight(self, key: str, *shape: int) -> Tensor:
        values = self.peer.weight("dinov2/" + key, shape)
        if key in GAINS or key.endswith(GAINS):
            return 1 + 2 * values
        return {"pos_embed": 200.0, "cls_token": 6.0}.get(key, 1.0) * values

    def linear(self, tokens: Tensor, key: str, out: int) -> Tensor:
        weight = self.weight(f"{key}.weight", out, tokens.shape[-1])
        return tokens @ weight.T + self.weight(f"{key}.bias", out)

    def normed(self, tokens: Tensor, key: str) -> Tensor:
        return layer_norm(
            tokens, (WIDTH,), self.weight(f"{key}.weight", WIDTH), self.weight(f"{key}.bias", WIDTH), 1e-6
        )

    def positions(self, rows: int, columns: int) -> Tensor:
        trained = self.weight("pos_embed", 1, 1 + TRAINED**2, WIDTH)[0]
        grid = trained[1:].T.reshape(1, WIDTH, TRAINED, TRAINED)
        scale = ((rows + 0.1) / TRAINED, (columns + 0.1) / TRAINED)
        resized = interpolate(grid, scale_factor=scale, mode="bicubic", recompute_scale_factor=False)
        return torch.cat([trained[:1], resized[0].flatten(1).T])

    def embedded(self, images: Tensor) -> Tensor:
        weight = self.weight("patch_embed.proj.weight", WIDTH, 3, PATCH, PATCH)
        patches = torch.conv2d(images, weight, self.weight("patch_embed.proj.bias", WIDTH), stride=PATCH)
        tokens = patches.flatten(2).transpose(1, 2)
        whole = self.weight("cls_token", 1, 1, WIDTH).expand(len(images), -1, -1)
        return torch.cat([whole, tokens], dim=1) + self.positions(*patches.shape[2:])

    def block(self, tokens: Tensor, number: int) -> Tensor:
        key = f"blocks.{number}"
        parts = self.linear(self.normed(tokens, f"{key}.norm1"), f"{key}.attn.qkv", 3 * WIDTH)
        query, keys, values = parts.unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
        tokens = tokens + self.weight(f"{key}.ls1.gamma", WIDTH) * self.linear(mixed, f"{key}.attn.proj", WIDTH)
        hidden = gelu(self.linear(self.normed(tokens, f"{key}.norm2"), f"{key}.mlp.fc1", 4 * WIDTH))
        return tokens + self.weight(f"{key}.ls2.gamma", WIDTH) * self.linear(hidden, f"{key}.mlp.fc2", WIDTH)

    def features(self, images: Tensor, on_block: Callable[[int, Tensor], None] = lambda number, tokens: None) -> Tensor:
        tokens = self.embedded(images)
        for number in range(DEPTH):
            tokens = self.block(tokens, number)
            on_block(number + 1, tokens[:, 1:])
        return self.normed(tokens, "norm")[:, 1:]


def memory(grid: int, **options: Any) -> AnomalyDino:
    backbone = Mock(spec=Backbone, grid=grid, vision=Tower(WIDTH, DEPTH, HEADS))
    return AnomalyDino(AnomalyDinoOptions(**options), ReferenceSetting(backbone=backbone, levels=(1,)))


def asked(own: AnomalyDino, references: Tensor, features: Tensor, size: int) -> tuple[Bank, Answer, Scores]:
    """What the product makes of features."""
    bank = own.fill([ImageTokens({DEPTH: references})])
    answer = own.answer(bank, ImageTokens({DEPTH: features}))
    nothing = Scores(torch.zeros_like(answer.grid), torch.zeros(len(features), size, size), torch.zeros(len(features)))
    normal = NormalScores(grid_mean=0.0, grid_deviation=1.0, image_mean=0.0, image_deviation=1.0)
    return bank, answer, own.combine(nothing, answer, bank=bank, normal=normal, smooth=True)


@pytest.fixture(scope="module")
def dino(peer: Peer) -> Dino:
    """Weights are drawn once."""
    found = Dino(peer)
    found.weight = cache(found.weight)  # type: ignore[method-assign]
    return found


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("small", [False, True])
def test_memory_distances_map_and_score(dino: Dino, small: bool) -> None:
    peer, prefix = dino.peer, "published/small/" if small else "published/"
    size = peer.info["small_image_size" if small else "image_size"]
    images, grid, seen = peer.images(size=size), size // PATCH, dict[str, Tensor]()

    def keep(number: int, tokens: Tensor) -> None:
        if not small and number in (1, 6, 12):
            seen[f"tokens/after_block{number}"] = tokens

    features = dino.features(images, keep)
    references = dino.features(peer.images("reference/", peer.info["references"], size))
    seen |= {"tokens/input": dino.embedded(images), "pos_embed": dino.positions(grid, grid)}
    seen |= {"features": features, "reference_features": references, "memory": unit(references.flatten(0, 1))}
    peer.hold({prefix + name: value for name, value in seen.items()})
    bank, answer, scores = asked(memory(grid), references, features, size)
    assert {tuple(row) for row in bank["patches"].flatten(0, 1).tolist()} == {
        tuple(row) for row in references.flatten(0, 1).tolist()
    }
    computed = {"distances": answer.grid, "map": scores.maps, "image_score": scores.detection}
    peer.hold({prefix + name: value for name, value in computed.items()}, DISTANCES)


@pytest.mark.slow
@torch.no_grad()
def test_masks(dino: Dino) -> None:
    peer, size = dino.peer, dino.peer.info["image_size"]
    images, part = peer.images(), slice(size // 4, size - size // 4)
    images[:, :, part, part] += peer.info["object_added_for_masking"]
    features = dino.features(images)
    references = dino.features(peer.images("reference/", peer.info["references"]))
    component = first_component(features)
    peer.hold({"published/masked/features": features, "published/masked/first_component": component})
    for profile, mask in (("published", "rows"), ("corrected", "grid")):
        _, answer, scores = asked(memory(size // PATCH, mask=mask), references, features, size)
        assert answer.parts is not None
        computed = {"mask": answer.parts["mask"].int(), "distances": answer.grid}
        computed |= {"map": scores.maps, "image_score": scores.detection}
        peer.hold({f"{profile}/masked/{name}": value for name, value in computed.items()}, DISTANCES)


@pytest.mark.slow
@torch.no_grad()
def test_pictures_that_are_not_square(dino: Dino) -> None:
    peer = dino.peer
    names = [f"picture{number}/" for number in range(peer.info["batch"])]
    prepared = torch.stack([prepare(peer, name) for name in names])
    references = torch.stack([prepare(peer, f"reference/picture{number}/") for number in range(2)])
    rows, columns = (side // PATCH for side in prepared.shape[2:])
    features = dino.features(prepared)
    stored = dino.features(references).flatten(0, 1)
    far = nearest(features.flatten(0, 1), stored).reshape(-1, rows, columns)
    height, width = peer.info["picture_size"]
    stretched = interpolate(far[:, None], (height, width), mode="bilinear")[:, 0]
    computed = {"prepared_image0": prepared[0], "grid": [rows, columns], "features": features, "distances": far}
    computed |= {"map": blurred(stretched), "image_score": farthest(far.flatten(1))}
    peer.hold({f"published/picture/{name}": value for name, value in computed.items()}, DISTANCES)
    resized = resized_size(height, width, peer.info["picture_smaller_edge"])
    places = [
        np.clip((np.arange(length) + 0.5) * other / length / PATCH - 0.5, 0, count - 1)
        for length, other, count in zip((height, width), resized, (rows, columns), strict=True)
    ]
    peer.hold({"corrected/picture/map": blurred(sampled(far, *places))}, DISTANCES)


def resized_size(height: int, width: int, smaller: int) -> tuple[int, int]:
    shorter, longer = min(height, width), max(height, width)
    sides = {shorter: smaller, longer: int(smaller * longer / shorter)}
    return sides[height], sides[width]


def prepare(peer: Peer, name: str) -> Tensor:
    """The recipe's picture as the published code hands it to the tower."""
    (height, width), tag = peer.info["picture_size"], peer.info["tag"] + name
    noise = peer.goldens.recipe.images(tag, 1, max(height, width))[0, :, :height, :width].astype(np.float64)
    picture = np.clip(np.rint(127.5 + 50 * noise), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    high, wide = resized_size(height, width, peer.info["picture_smaller_edge"])
    resized = np.asarray(Image.fromarray(picture).resize((wide, high), Image.Resampling.BICUBIC), np.float32) / 255
    values = torch.from_numpy(((resized - np.array(MEAN, np.float32)) / np.array(STD, np.float32)).transpose(2, 0, 1))
    return values[:, : high // PATCH * PATCH, : wide // PATCH * PATCH]


def blurred(maps: Tensor) -> Tensor:
    """The product's Gaussian is of square maps: each side is mirrored, so that a larger square has the same border."""
    size = max(maps.shape[1:])
    rows, columns = (torch.from_numpy(mirrored(length, size + 32)) for length in maps.shape[1:])
    return gaussian_filter(maps[:, rows][:, :, columns], 4.0)[:, 16 : 16 + maps.shape[1], 16 : 16 + maps.shape[2]]


def mirrored(length: int, count: int) -> np.ndarray:
    places = (np.arange(count) - 16) % (2 * length)
    return np.minimum(places, 2 * length - 1 - places)


def sampled(grid: Tensor, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Values between the patches, linear in both directions."""
    for axis, places in ((1, rows), (2, columns)):
        low = np.minimum(places.astype(int), grid.shape[axis] - 2)
        share = torch.from_numpy(places - low).float().reshape([-1 if one == axis else 1 for one in range(3)])
        grid = (
            grid.index_select(axis, torch.from_numpy(low)) * (1 - share)
            + grid.index_select(axis, torch.from_numpy(low + 1)) * share
        )
    return grid


def test_the_mean_of_the_farthest(peer: Peer) -> None:
    keys = [key for key in peer.keys if "mean_top1p" in key]
    assert keys
    for key in keys:
        count = int(key.rpartition("/")[2])
        values = torch.from_numpy(peer.goldens.recipe.unit(peer.info["tag"], f"distances{count}", count))
        peer.hold({key: farthest(values.float()[None])[0]}, DISTANCES)


def test_published_evaluation(peer: Peer) -> None:
    recipe, tag = peer.goldens.recipe, peer.info["tag"]
    masks = recipe.masks(f"{tag}metric/", IMAGES, SIDE)[:, 0]
    labels = masks.any(axis=(1, 2)).astype(int)
    maps = (recipe.unit(tag, "pixel_scores", masks.size).reshape(masks.shape) + 1.2 * masks).astype(np.float32)
    scores = (recipe.unit(tag, "image_scores", IMAGES) + 0.8 * labels).astype(np.float32)
    metrics = ClassMetrics()
    metrics.update(maps, masks, scores, labels)
    values = metrics.values()
    assert all(math.isfinite(values[name] or math.nan) for name in METRICS)
    peer.hold({"metrics/anomalydino": [100 * (values[name] or 0) for name in METRICS]})


def test_every_key_was_compared(compared: Peer) -> None:
    assert not compared.passed_over
