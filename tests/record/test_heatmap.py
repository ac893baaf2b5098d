from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from PIL import Image

from aaclip_kit import upsampled
from aaclip_kit.record.heatmap import COLOURMAP, enlarged, save_heatmap

from ..helpers import assert_close, bilinear

CAPTION, GAP = 24, 6


def image(height: int = 112, width: int = 112) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def square_mask(height: int = 112, width: int = 112) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[30:60, 40:70] = True
    return mask


def panels(path: Path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        pixels = np.array(picture)[CAPTION:]
    width = (pixels.shape[1] - 2 * GAP) // 3
    return [pixels[:, i * (width + GAP) : i * (width + GAP) + width] for i in range(3)]


@pytest.mark.parametrize(
    ("size", "panel"),
    [((112, 112), (224, 224)), ((320, 264), (320, 264)), ((112, 56), (448, 224)), ((1036, 518), (512, 256))],
)
def test_small_images_are_enlarged_and_large_ones_bounded(
    tmp_path: Path, size: tuple[int, int], panel: tuple[int, int]
) -> None:
    save_heatmap(tmp_path / "a.png", image(*size), None, np.zeros(size, np.float32), scale=(0, 1))
    assert [part.shape for part in panels(tmp_path / "a.png")] == [(*panel, 3)] * 3


def test_the_outline_runs_around_the_mask_and_hides_nothing_of_it(tmp_path: Path) -> None:
    save_heatmap(tmp_path / "a.png", image(), square_mask(), np.zeros((112, 112), np.float32), scale=(0, 1))
    first, second, _ = panels(tmp_path / "a.png")
    changed = (first != second).any(axis=-1)
    inside = square_mask().repeat(2, axis=0).repeat(2, axis=1)
    assert not changed[inside].any()
    rows, columns = np.nonzero(changed)
    assert (rows.min(), rows.max()) == (60 - 3, 119 + 3)
    assert (columns.min(), columns.max()) == (80 - 3, 139 + 3)


def test_a_picture_without_a_mask_says_so(tmp_path: Path) -> None:
    save_heatmap(tmp_path / "a.png", image(), None, np.zeros((112, 112), np.float32), scale=(0, 1))
    first, second, _ = panels(tmp_path / "a.png")
    rows, _ = np.nonzero((first != second).any(axis=-1))
    assert 0 < rows.max() < 30


def test_the_colours_depend_on_the_scale_and_not_on_the_picture(tmp_path: Path) -> None:
    colours = mpl.colormaps[COLOURMAP]([0, 255, 51], bytes=True)[:, :3]
    anomaly_map = np.full((112, 112), 0.2, np.float32)
    anomaly_map[:50], anomaly_map[60:] = -7.0, 9.0
    save_heatmap(tmp_path / "a.png", image(), None, anomaly_map, scale=(0.0, 1.0))
    save_heatmap(tmp_path / "b.png", image(), None, np.full((14, 14), 2.0, np.float32), scale=(0.0, 10.0))
    seen = panels(tmp_path / "a.png")[2]
    assert seen[20, 20].tolist() == colours[0].tolist()
    assert seen[200, 20].tolist() == colours[1].tolist()
    assert (panels(tmp_path / "b.png")[2] == colours[2]).all()


def test_a_scale_of_one_value_draws_the_lowest_colour(tmp_path: Path) -> None:
    lowest = mpl.colormaps[COLOURMAP](0, bytes=True)[:3]
    save_heatmap(tmp_path / "a.png", image(), None, np.full((4, 4), 0.5, np.float32), scale=(0.5, 0.5))
    assert (panels(tmp_path / "a.png")[2] == lowest).all()


@pytest.mark.parametrize("scale", [(1.0, 0.0), (float("nan"), 1.0)])
def test_a_scale_that_does_not_ascend_is_refused(tmp_path: Path, scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no colour scale"):
        save_heatmap(tmp_path / "a.png", image(), None, np.zeros((4, 4), np.float32), scale=scale)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("side", "size"), [(4, 32), (14, 192), (1, 5), (37, 37)])
def test_a_grid_is_enlarged_as_the_maps_of_the_evaluation_are(side: int, size: int) -> None:
    grid = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    expected = bilinear(grid, size)
    # A value is a weighted sum of four, in float32 in the program and in float64 here.
    assert_close(enlarged(grid, size).astype(np.float64), expected, atol=5e-6)
    assert_close(upsampled(torch.from_numpy(grid)[None, None], size)[0, 0].double(), expected, atol=5e-6)
