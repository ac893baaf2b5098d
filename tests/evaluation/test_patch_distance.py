"""The rule `patch_distance` against a naive double loop, and what it finds in pictures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.embedded import EmbeddedOptions
from aaclip_kit_plugins.embedded.backbone import EmbeddedBackbone
from aaclip_kit_plugins.synthetic import draw
from scipy.ndimage import gaussian_filter
from torch import Tensor

from aaclip_kit import DataSet, Sample, UserError
from aaclip_kit.data.loader import Pixels
from aaclip_kit.evaluation import patch_distance
from aaclip_kit.evaluation.auroc import auroc
from aaclip_kit.evaluation.class_metrics import METRICS
from aaclip_kit.evaluation.histogram import Histogram
from aaclip_kit.evaluation.patch_distance import PatchDistance, RuleBatch, image_scores, patch_distances
from aaclip_kit.evaluation.rules import patch_batches, rule_images, rule_metrics
from aaclip_kit.run.assemble import Run

from ..build import build, evaluator_of
from ..helpers import assert_close, bilinear
from .given import whole_class

CPU = torch.device("cpu")
NAME = "green_wood"


def features(batch: int, count: int, width: int = 5) -> Tensor:
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(count))


def naive(vectors: list[list[float]]) -> list[float]:
    """The rule, patch by patch and pair by pair, in float64."""
    found = []
    for one in range(len(vectors)):
        distances = []
        for other in range(len(vectors)):
            if other != one:
                a, b = np.array(vectors[one]), np.array(vectors[other])
                distances.append(1 - float(a @ b) / float(np.sqrt(a @ a) * np.sqrt(b @ b)))
        nearest = sorted(distances)[: max(1, round(0.3 * len(distances)))]
        found.append(sum(nearest) / len(nearest))
    return found


@pytest.mark.parametrize("count", [2, 4, 9, 25, 49])
def test_distances_are_those_of_the_naive_double_loop(count: int) -> None:
    given = features(2, count)
    assert_close(patch_distances(given), torch.tensor([naive(one.tolist()) for one in given]))


def test_patches_that_are_compared_in_parts_have_the_same_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    given = features(3, 16)
    expected = patch_distances(given)
    monkeypatch.setattr(patch_distance, "_COMPARED", 3 * 16 * 5)
    assert_close(patch_distances(given), expected)


def test_numbers_are_defined_for_one_patch_and_for_patches_of_nothing() -> None:
    assert patch_distances(features(2, 1)).tolist() == [[0.0], [0.0]]
    assert patch_distances(torch.zeros(1, 4, 3)).tolist() == [[1.0] * 4], "nothing is like nothing"
    same = patch_distances(features(1, 1).expand(1, 9, 5))
    assert_close(same, torch.zeros(1, 9))


def test_an_image_has_the_same_distances_whatever_lies_beside_it() -> None:
    given = features(5, 25)
    expected = patch_distances(given)
    assert torch.equal(expected, torch.cat([patch_distances(one[None]) for one in given]))
    assert_close(patch_distances(3.0 * given), patch_distances(given))
    assert_close(patch_distances(given.half()), patch_distances(given.half().float()))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(patch_distances(given), expected)


@pytest.mark.parametrize(("side", "count"), [(32, 10), (10, 1), (4, 1)])
def test_an_image_scores_the_mean_of_its_largest_hundredth(side: int, count: int) -> None:
    maps = np.random.default_rng(0).random((3, side, side), np.float32)
    expected = [sum(sorted(one.ravel().tolist())[-count:]) / count for one in maps]
    assert_close(image_scores(maps), np.array(expected, np.float32))


def rule_of(run: Run, batch_size: int = 3) -> PatchDistance:
    return PatchDistance(run.model.backbone, CPU, run.pixels, batch_size=batch_size)


def joined(batches: Iterator[RuleBatch]) -> tuple[np.ndarray, np.ndarray, list[Any], list[int]]:
    """Maps, image scores, masks and labels of all batches."""
    found = list(batches)
    maps, scores = (np.concatenate([getattr(one, part) for one in found]) for part in ("maps", "image_scores"))
    return maps, scores, [m for one in found for m in one.masks], [int(n) for one in found for n in one.labels]


def test_the_map_is_bilinear_and_blurred_with_a_part_of_the_side(small_experiment: Path) -> None:
    run = build(small_experiment)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = run.model.backbone.embed_image(images)[:, 1:]
    assert torch.equal(run.model.backbone.rule_features(images), tokens), "what a backbone has unless it says otherwise"
    for found, one in zip(rule_of(run).maps(images), tokens, strict=True):
        grid = np.array(naive(one.tolist())).reshape(4, 4)
        # Distances of some thousandths that are differences of numbers near 1.
        assert_close(found, gaussian_filter(bilinear(grid, 32), 32 / 28).astype(np.float32), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_the_images_of_a_class_are_those_that_the_model_is_scored_on(small_experiment: Path, batch_size: int) -> None:
    run = build(small_experiment)
    data, evaluator = run.data.sets["test"], evaluator_of(run)
    maps, scores, masks, labels = joined(rule_of(run, batch_size).batches(data, NAME))
    expected = whole_class(evaluator, data, NAME, frozenset())
    assert labels == expected.labels.tolist()
    assert np.array_equal(np.stack(masks), expected.masks)
    alone = joined(rule_of(run, 8).batches(data, NAME))
    assert_close(maps, alone[0])
    assert_close(scores, alone[1])


def test_it_stands_beside_the_rules_of_pixels(small_experiment: Path) -> None:
    run = build(small_experiment)
    data = run.data.sets["test"]
    found = rule_metrics(rule_images(data, 32), patch_batches(data, rule_of(run)))
    assert list(found) == ["darkness", "colour_distance", "patch_distance"]
    assert tuple(found["patch_distance"]["mean"]) == METRICS and set(found["patch_distance"]["classes"]) == {NAME}
    without = rule_metrics(rule_images(data, 32))
    assert without == {name: result for name, result in found.items() if name != "patch_distance"}


def test_an_image_whose_mask_is_unknown_has_no_pixel_metrics(small_experiment: Path) -> None:
    run = build(small_experiment)
    data = run.data.sets["test"]
    samples = tuple(replace(sample, mask=None) for sample in data.samples)
    unmasked = replace(data, samples=samples)
    mean = rule_metrics({NAME: []}, patch_batches(unmasked, rule_of(run)))["patch_distance"]["mean"]
    assert mean["pixel_auroc"] is None and mean["image_auroc"] is not None
    good = replace(data, samples=tuple(sample for sample in samples if not sample.label))
    zero = rule_metrics({NAME: []}, patch_batches(good, rule_of(run)), undefined_as_zero=True)["patch_distance"]["mean"]
    assert zero["image_auroc"] == 0.0


def test_features_that_are_not_finite_name_the_images(small_experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = build(small_experiment)
    data = run.data.sets["test"]
    monkeypatch.setattr(type(run.model.backbone), "rule_features", lambda _, images: images.flatten(2)[:, :, :4] / 0)
    with pytest.raises(UserError, match="rule features are not finite") as caught:
        next(rule_of(run).batches(data, NAME))
    assert str(data.samples[0].image) in str(caught.value)


@pytest.fixture(scope="module")
def embedded() -> EmbeddedBackbone:
    return EmbeddedBackbone(EmbeddedOptions())


def maps_of(backbone: EmbeddedBackbone, pictures: list[np.ndarray], device: torch.device = CPU) -> np.ndarray:
    pixels = Pixels(backbone.image_size, backbone.image_mean, backbone.image_std)
    images = (np.stack(pictures).transpose(0, 3, 1, 2) / np.float32(255) - np.float32(pixels.mean[0])) / pixels.std[0]
    rule = PatchDistance(backbone, device, pixels, batch_size=2)
    return rule.maps(torch.from_numpy(images.astype(np.float32)).to(device))


def checked(side: int = 112) -> np.ndarray:
    """A pattern that repeats every eight pixels, with a little noise."""
    rows, columns = np.indices((side, side)) // 4 % 2
    noise = np.random.default_rng(0).integers(0, 20, (side, side))
    return np.repeat(((rows ^ columns) * 120 + 60 + noise)[..., None], 3, axis=2).astype(np.uint8)


def test_a_part_that_is_unlike_the_rest_stands_out(embedded: EmbeddedBackbone) -> None:
    """Stripes of the pattern's own two colours: neither their darkness nor their colour gives them away."""
    sound, odd = checked(), checked()
    odd[40:72, 56:88] = odd[40:41, 56:88]
    found, other = maps_of(embedded, [odd, sound])
    row, column = np.unravel_index(found.argmax(), found.shape)
    assert 40 <= row < 72 and 56 <= column < 88
    assert found.max() > 1.4 * other.max()
    assert image_scores(found[None])[0] > 1.4 * image_scores(other[None])[0]


def test_drawn_defects_stand_out(embedded: EmbeddedBackbone) -> None:
    for surface, defect in (("leather", "hole"), ("denim", "stain"), ("canvas", "scratch")):
        drawn = draw(surface, 7, defect)
        histogram = Histogram()
        histogram.add(maps_of(embedded, [drawn.image])[0].ravel(), drawn.mask.ravel())
        assert (auroc(histogram) or 0.0) > 0.85, (surface, defect)


def test_the_embedded_model_is_looked_at_before_any_layer_that_has_seen_a_defect(embedded: EmbeddedBackbone) -> None:
    images = torch.rand(1, 3, 112, 112)
    stem = embedded.clip.visual.conv1.stem(images)
    assert torch.equal(embedded.rule_features(images)[0, 15], stem[0, :-8, 1, 1]), (
        "row by row of the grid, without distances"
    )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_finds_the_same() -> None:
    backbone = EmbeddedBackbone(EmbeddedOptions())
    pictures = [draw("leather", 3, "hole").image, checked()]
    expected = maps_of(backbone, pictures)
    assert_close(maps_of(backbone.cuda(), pictures, torch.device("cuda")), expected, rtol=1e-3, atol=1e-4)


def test_a_class_without_images_asks_for_nothing(small_experiment: Path) -> None:
    run = build(small_experiment)
    empty = DataSet((Sample(Path("none"), "other", 0),), {"other": "other", "none": "none"})
    assert list(rule_of(run).batches(empty, "none")) == []
