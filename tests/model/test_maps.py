"""Similarity maps against loops over patches and pixels."""

from __future__ import annotations

import math

import torch

from aaclip_kit.model.anomaly_map import probability_map, similarity_grid, upsampled

from ..helpers import assert_close


def features(batch: int = 2, side: int = 3, width: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(batch, side * side, width, generator=generator) / 20
    return patches, torch.randn(batch, width, 2, generator=generator) / 20


def test_the_grid_holds_a_hundred_times_each_similarity() -> None:
    patches, text = features()
    grid = similarity_grid(patches, text)
    for image in range(2):
        for channel in range(2):
            for row in range(3):
                for column in range(3):
                    similarity = float(patches[image, row * 3 + column] @ text[image, :, channel])
                    assert_close(grid[image, channel, row, column], 100 * similarity)


def test_upsampling_is_bilinear_with_aligned_corners() -> None:
    grid = torch.arange(9.0).reshape(1, 1, 3, 3)
    grid[0, 0, 1, 1] = 10.0
    found = upsampled(grid, 5)[0, 0]
    assert_close(found[::2, ::2], grid[0, 0])
    assert_close(found[1, 1], (0 + 1 + 3 + 10) / 4)
    assert_close(found[0], torch.tensor([0, 0.5, 1, 1.5, 2]))


def test_probabilities_are_the_softmax_of_the_upsampled_maps() -> None:
    patches, text = features()
    found = probability_map(patches, text, 7)
    maps = upsampled(similarity_grid(patches, text), 7)
    assert found.shape == (2, 2, 7, 7)
    assert_close(found.sum(1), torch.ones(2, 7, 7))
    normal, abnormal = maps[1, :, 2, 5].tolist()
    assert_close(found[1, 1, 2, 5], math.exp(abnormal) / (math.exp(normal) + math.exp(abnormal)))


def test_similarities_stay_in_single_precision_under_autocast() -> None:
    patches, text = features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = probability_map(patches, text, 7)
    assert_close(under_autocast, probability_map(patches, text, 7))
    half = probability_map(patches.bfloat16(), text.bfloat16(), 7)
    assert_close(half, probability_map(patches.bfloat16().float(), text.bfloat16().float(), 7))
