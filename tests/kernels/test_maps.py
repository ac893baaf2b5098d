"""Blur, upsampling and softmax of maps against loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from aaclip_kit import gaussian_blur, softmax_maps, unit, upsampled

from ..helpers import assert_close, bilinear


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def naive_blur(grid: np.ndarray, side: int, sigma: float) -> np.ndarray:
    """Gaussian over a border reflected about the edge pixels, pixel by pixel."""
    reach = side // 2
    padded = np.pad(grid.astype(np.float64), reach, mode="reflect")
    kernel = np.array([[math.exp(-(x * x + y * y) / (2 * sigma**2)) for x in range(-reach, reach + 1)]
                       for y in range(-reach, reach + 1)])  # fmt: skip
    kernel /= kernel.sum()
    rows, columns = grid.shape
    return np.array([[(padded[row : row + side, column : column + side] * kernel).sum()
                      for column in range(columns)] for row in range(rows)])  # fmt: skip


@pytest.mark.parametrize(("side", "sigma"), [(7, 1.0), (9, 1.5), (5, 4.0)])
@pytest.mark.parametrize("grid", [5, 8, 37])
def test_blur_equals_scipys_and_the_naive_one(side: int, sigma: float, grid: int) -> None:
    values = noise(2, 1, grid, grid)
    found = gaussian_blur(values, side, sigma)
    for image in range(2):
        plane = values[image, 0].numpy()
        # scipy's "mirror" is the border that torch calls "reflect".
        expected = gaussian_filter(plane, sigma, mode="mirror", radius=side // 2)
        assert_close(found[image, 0], torch.from_numpy(expected))
        if grid < 37:
            assert_close(found[image, 0].double(), torch.from_numpy(naive_blur(plane, side, sigma)))


def test_blur_keeps_channels_apart_and_constants_as_they_are() -> None:
    values = torch.stack([torch.zeros(8, 8), torch.full((8, 8), 3.0)])[None]
    assert_close(gaussian_blur(values, 7, 1.0), values)


def test_a_grid_smaller_than_the_reach_repeats_its_edge() -> None:
    values = torch.arange(9.0).reshape(1, 1, 3, 3)
    expected = gaussian_filter(values[0, 0].numpy(), 1.5, mode="nearest", radius=4)
    assert_close(gaussian_blur(values, 9, 1.5)[0, 0], torch.from_numpy(expected))


def test_upsampling_is_bilinear_with_aligned_corners() -> None:
    grid = torch.arange(9.0).reshape(1, 1, 3, 3)
    grid[0, 0, 1, 1] = 10.0
    found = upsampled(grid, 5)[0, 0]
    assert_close(found[::2, ::2], grid[0, 0])
    assert_close(found[1, 1], (0 + 1 + 3 + 10) / 4)
    assert_close(found[0], torch.tensor([0, 0.5, 1, 1.5, 2]))


def test_without_aligned_corners_pixels_are_areas_and_the_outermost_reach_beyond_the_grid() -> None:
    found = upsampled(torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]]), 4, align_corners=False)[0, 0]
    assert_close(found[0], torch.tensor([0.0, 1.0, 3.0, 4.0]))


def test_probabilities_are_the_softmax_of_the_upsampled_logits() -> None:
    logits = 3 * noise(2, 2, 3, 3)
    found = softmax_maps(logits, 7)
    assert found.shape == (2, 2, 7, 7)
    assert_close(found.sum(1), torch.ones(2, 7, 7))
    normal, abnormal = (bilinear(logits[1, channel].numpy(), 7)[2, 5] for channel in (0, 1))
    assert_close(found[1, 1, 2, 5], math.exp(abnormal) / (math.exp(normal) + math.exp(abnormal)))


@pytest.mark.parametrize("aligned", [True, False])
def test_their_gradients_are_those_of_the_plain_form(aligned: bool) -> None:
    logits, weights = noise(2, 2, 4, 4).requires_grad_(), noise(2, 2, 9, 9)
    forms = (softmax_maps(logits, 9, aligned), upsampled(logits, 9, aligned).softmax(dim=1))
    one, other = (torch.autograd.grad((form * weights).sum(), logits)[0] for form in forms)
    assert_close(one, other, atol=1e-5)


def test_maps_are_interpolated_in_single_precision_under_autocast() -> None:
    logits = 40 * noise(2, 2, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = softmax_maps(logits, 7)
    assert under_autocast.dtype == torch.float32
    assert_close(under_autocast, softmax_maps(logits, 7))


def test_unit_features_have_length_one_and_their_direction() -> None:
    features = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    assert_close(unit(features), torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
