"""Maps and scores of single images against the written-out formula."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from aaclip_kit import Domain
from aaclip_kit.model.anomaly_map import gaussian_blur, level_grid, map_probability, score

from ..helpers import assert_close

BLURS: dict[Domain, tuple[int, float]] = {"industrial": (7, 1.0), "medical": (9, 1.5)}


def features(batch: int = 3, side: int = 8, width: int = 6) -> tuple[dict[int, Tensor], Tensor, Tensor]:
    """Patches of two levels, detection and text features, of the size that unit features have."""
    generator = torch.Generator().manual_seed(0)
    levels = {level: torch.randn(batch, side * side, width, generator=generator) / 10 for level in (2, 5)}
    detection = torch.randn(batch, width, generator=generator) / 3
    return levels, detection, torch.randn(batch, width, 2, generator=generator) / 3


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


def naive_upsampled(grid: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with aligned corners: the outermost pixels fall on the outermost grid points."""
    places = np.linspace(0, len(grid) - 1, size)
    rows = np.array([np.interp(places, range(len(grid)), row) for row in grid])
    return np.array([np.interp(places, range(len(grid)), column) for column in rows.T]).T


@pytest.mark.parametrize("domain", BLURS)
@pytest.mark.parametrize("grid", [5, 8, 37])
def test_blur_equals_scipys_and_the_naive_one(domain: Domain, grid: int) -> None:
    side, sigma = BLURS[domain]
    values = torch.randn(2, 1, grid, grid, generator=torch.Generator().manual_seed(1))
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


@pytest.mark.parametrize("domain", BLURS)
@pytest.mark.parametrize("blur", [True, False])
def test_scores_equal_the_written_out_formula(domain: Domain, blur: bool) -> None:
    levels, detection, text = features()
    found = score(levels, detection, text, 20, domain, blur)
    for image in range(3):
        normal, abnormal = text[image].T.double()
        total = np.zeros((20, 20))
        for patches in levels.values():
            grid = np.array(
                [((100 * patch @ abnormal) + 1 - (100 * patch @ normal)) / 2 for patch in patches[image].double()]
            )
            grid = grid.reshape(8, 8)
            total += naive_upsampled(naive_blur(grid, *BLURS[domain]) if blur else grid, 20)
        assert_close(found.maps[image].double(), torch.from_numpy(total), rtol=1e-5, atol=1e-5)
        assert_close(found.map_peak[image], float(total.max()), atol=1e-5)
        assert_close(found.detection[image], (float(detection[image].double() @ abnormal) + 1) / 2)


def test_medical_maps_are_smoother_than_industrial_ones() -> None:
    levels, detection, text = features()
    roughness = {
        domain: float(score(levels, detection, text, 8, domain).maps.diff(dim=-1).square().mean()) for domain in BLURS
    }
    sharp = float(score(levels, detection, text, 8, "medical", blur=False).maps.diff(dim=-1).square().mean())
    assert roughness["medical"] < roughness["industrial"] < sharp


def test_a_score_does_not_depend_on_the_other_images() -> None:
    levels, detection, text = features()
    together = score(levels, detection, text, 20, "industrial")
    for image in range(3):
        part = slice(image, image + 1)
        alone = score({n: found[part] for n, found in levels.items()}, detection[part], text[part], 20, "industrial")
        assert_close(alone.maps[0], together.maps[image], atol=1e-5)
        assert_close(alone.detection[0], together.detection[image])


def test_half_precision_features_are_scored_in_single_precision() -> None:
    levels, detection, text = features()
    half = score(
        {n: found.bfloat16() for n, found in levels.items()}, detection.bfloat16(), text.bfloat16(), 20, "medical"
    )
    whole = score(
        {n: found.bfloat16().float() for n, found in levels.items()},
        detection.bfloat16().float(),
        text.bfloat16().float(),
        20,
        "medical",
    )
    assert half.maps.dtype == half.detection.dtype == torch.float32
    assert_close(half.maps, whole.maps)
    assert_close(half.detection, whole.detection)


def test_map_probability_is_the_softmax_of_the_mean_similarities() -> None:
    """For one patch without blur, the probability that a loss would see if all levels agreed."""
    levels, _, text = features(side=1)
    grids = [level_grid(levels[2], text, "industrial", blur=False) for _ in range(2)]
    logits = (100 * levels[2] @ text)[:, 0]
    assert_close(map_probability(torch.stack(grids).sum(0)[:, 0, 0], levels=2), logits.softmax(-1)[:, 1])
