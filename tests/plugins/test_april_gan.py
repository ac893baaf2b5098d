"""The head `april_gan` against naive forms, on the tiny random backbone; tests/parity holds it to the goldens."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from aaclip_kit import Scores
from aaclip_kit.contracts.errors import UserErrors
from aaclip_kit.data.decoded import Decoded
from aaclip_kit.run.assemble import Run, build_phase, open_feature_store
from aaclip_kit.training.phase import train_phase

from ..build import images_for, train, values_of
from ..helpers import assert_close, bilinear
from .methods import assembled, write_method

TABLES = """
[prompts]
use = "ensemble"
ensemble = "april_gan"
projection = "frozen"
[head]
use = "april_gan"
"""
CLASS = "green_wood"


@pytest.fixture
def method(tmp_path: Path, tiny_clip: Path, defects: Path) -> Path:
    return write_method(tmp_path, tiny_clip, defects, TABLES)


@torch.no_grad()
def scores_of(run: Run, images: Tensor, smooth: bool = True) -> Scores:
    model, classes = run.model, (CLASS,) * len(images)
    features = model.image_features(images, classes, attention=False)
    return model.head.score(features, model.text_features(classes, None), images.shape[-1], "industrial", smooth)


@torch.no_grad()
def naive_walk(run: Run, images: Tensor) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Raw patch tokens after each level's blocks, and the unit class embedding, of the blocks one by one."""
    backbone, levels = run.model.backbone, {}
    tokens = backbone.embed_image(images)
    for block in range(backbone.vision.depth):
        tokens = backbone.vision_block(block, tokens)
        if block + 1 in run.model.levels:
            levels[block + 1] = tokens[:, 1:].double().numpy()
    embedding = backbone.project_image(backbone.finish_vision(tokens)[:, 0]).double().numpy()
    return levels, embedding / np.linalg.norm(embedding, axis=1, keepdims=True)


def single(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def naive_level(run: Any, level: int, raw: np.ndarray, text: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability of "abnormal" of one image's level, on the grid of patches and at every pixel."""
    layer = run.model.head.layers[str(level)]
    projected = raw @ layer.weight.double().numpy().T + layer.bias.double().numpy()
    logits = 100 * (projected / np.linalg.norm(projected, axis=1, keepdims=True)) @ text
    side = round(len(raw) ** 0.5)
    planes = logits.T.reshape(2, side, side)
    pixels = np.stack([bilinear(plane, size) for plane in planes], axis=-1)
    return softmax(np.moveaxis(planes, 0, -1))[..., 1], softmax(pixels)[..., 1]


def test_maps_and_scores_equal_the_naive_walk(method: Path) -> None:
    run = assembled(method)
    run.model.requires_grad_(False)
    images = images_for(run, 2)
    levels, embedding = naive_walk(run, images)
    found, size = scores_of(run, images), images.shape[-1]
    text = run.model.text_features((CLASS,), None)[0].double().numpy()
    assert len(levels) == 4
    for number in range(2):
        made = [naive_level(run, level, raw[number], text, size) for level, raw in levels.items()]
        assert_close(found.grid[number], single(sum(grid for grid, _ in made)), rtol=1e-4, atol=1e-5)
        assert_close(found.maps[number], single(sum(pixels for _, pixels in made)), rtol=1e-4, atol=1e-5)
    expected = softmax(100 * embedding @ text)[:, 1]
    assert_close(found.detection, single(expected), rtol=1e-4, atol=1e-5)


def test_losses_see_the_softmax_of_each_level_and_the_logits_of_the_class_token(method: Path) -> None:
    run = assembled(method)
    images, classes = images_for(run, 2), (CLASS, CLASS)
    model, text = run.model.requires_grad_(False), run.model.text_features(classes, None)
    features = model.image_features(images, classes, attention=False)
    levels, scores = model.head.level_probabilities(features, text, images.shape[-1]), scores_of(run, images)
    assert_close(sum(of[:, 1] for of in levels.values()), scores.maps)
    assert_close(model.head.detection_logits(features, text).softmax(dim=1)[:, 1], scores.detection)


def test_before_training_the_backbones_own_projection_stands_for_the_layers(method: Path) -> None:
    run = assembled(method)
    model, images = run.model.requires_grad_(False), images_for(run, 2)
    tokens = model.image.untouched(images, model.untrained_reads, model.levels)
    found = model.head.untrained_features(tokens)
    for level, raw in naive_walk(run, images)[0].items():
        own = model.backbone.project_image(model.backbone.finish_vision(single(raw)))
        assert_close(found.levels[level], torch.nn.functional.normalize(own, dim=-1), atol=1e-5)


def test_a_map_stands_for_the_mean_probability_and_is_shown_from_none_to_all_levels(method: Path) -> None:
    head = assembled(method).model.head
    assert head.shown == (0.0, 4.0)
    assert_close(head.map_probability(torch.tensor([0.0, 1.0, 4.0])), torch.tensor([0.0, 0.25, 1.0]))


def test_temperature_is_the_factor_of_the_logits(method: Path) -> None:
    run, mild = assembled(method), assembled(method, "head.temperature=1.5")
    images = images_for(run, 2)
    for one in (run, mild):
        one.model.requires_grad_(False)
    sharp, flat = (one.model.head.detection_logits(*features_and_text(one, images)) for one in (run, mild))
    assert_close(flat, sharp * 1.5 / 100)
    assert scores_of(mild, images).maps.std() < scores_of(run, images).maps.std()


def features_and_text(run: Run, images: Tensor) -> tuple[Any, Tensor]:
    classes = (CLASS,) * len(images)
    return run.model.image_features(images, classes, attention=False), run.model.text_features(classes, None)


def test_sigma_smooths_the_map_in_pixels_unless_blur_is_off(method: Path) -> None:
    plain, blurred = assembled(method), assembled(method, "head.sigma=2.0")
    images = images_for(plain, 2)
    before, after = scores_of(plain, images), scores_of(blurred, images)
    expected = np.stack([gaussian_filter(one.double().numpy(), 2.0) for one in before.maps])
    assert_close(after.maps, single(expected), rtol=1e-4)
    assert_close(after.detection, before.detection)
    assert torch.equal(scores_of(blurred, images, smooth=False).maps, before.maps)


def test_training_moves_every_layer_and_nothing_else(method: Path) -> None:
    run = assembled(method)
    before = values_of(run.model)
    (plan,) = run.scheduler.next_loop(()).phases  # type: ignore[union-attr]
    steps = train(run, plan)
    moved = {name for name, value in values_of(run.model).items() if not torch.equal(value, before[name])}
    assert moved == {f"head.layers.{level}.{kind}" for level in run.model.levels for kind in ("weight", "bias")}
    assert steps[-1].loss < steps[0].loss
    assert set(steps[0].terms) == {
        *(f"focal/level_{level}_focal" for level in run.model.levels),
        *(f"dice/level_{level}_dice_abnormal" for level in run.model.levels),
    }


def test_epochs_after_the_first_decode_no_image_and_walk_no_block(
    method: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, seen = assembled(method), Counter[str]()
    backbone, images = run.model.backbone, len(run.data.sets["train"].samples)
    embed, read = backbone.embed_image, Decoded.read

    def embedding(batch: Tensor) -> Tensor:
        seen["embedded"] += len(batch)
        return embed(batch)

    def reading(*given: Any) -> Any:
        seen["decoded"] += 1
        return read(*given)

    monkeypatch.setattr(backbone, "embed_image", embedding)
    monkeypatch.setattr(Decoded, "read", reading)
    (plan,) = run.scheduler.next_loop(()).phases  # type: ignore[union-attr]
    phase = build_phase(run, replace(plan, epochs=3), 1, 0, frozenset(), open_feature_store(run))
    train_phase(phase)
    assert seen == {"embedded": images, "decoded": images}


def test_layers_are_drawn_as_pytorch_draws_them_by_the_seed_and_each_alone(method: Path) -> None:
    models: list[Any] = [assembled(method, *more).model for more in ((), ("model.levels=[2, 8]",), ("seed=4",))]
    first, (layers, same, changed) = models[0], (model.head.layers for model in models)
    assert list(layers) == ["2", "4", "6", "8"] and list(same) == ["2", "8"]
    for level in same:
        assert torch.equal(layers[level].weight, same[level].weight)
        assert not torch.equal(layers[level].weight, changed[level].weight)
    bound = first.backbone.vision.width**-0.5
    assert 0.9 * bound < layers["2"].weight.abs().max() <= bound
    assert 0 < layers["2"].bias.abs().max() <= bound


def test_published_checkpoints_number_the_layers_by_their_levels(method: Path) -> None:
    model = assembled(method, "model.levels=[3, 7]").model
    assert model.published_names() == {
        "head.layers.3.weight": "trainable_linearlayer.fc.0.weight",
        "head.layers.3.bias": "trainable_linearlayer.fc.0.bias",
        "head.layers.7.weight": "trainable_linearlayer.fc.1.weight",
        "head.layers.7.bias": "trainable_linearlayer.fc.1.bias",
    }
    assert model.published_names().keys() == model.all_trained_parameters().keys()


@pytest.mark.parametrize(("key", "value"), [("temperature", "0.0"), ("sigma", "-1.0"), ("sigma", "65.0")])
def test_numbers_out_of_bounds_are_told_with_their_key(method: Path, key: str, value: str) -> None:
    with pytest.raises(UserErrors) as caught:
        assembled(method, f"head.{key}={value}")
    (fault,) = caught.value.faults
    assert str(fault.where).endswith(f"head.{key}")
