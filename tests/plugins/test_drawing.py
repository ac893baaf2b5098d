"""Drawn surfaces: exact masks, repeatable pictures, splits that share nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from aaclip_kit_plugins.synthetic import (
    DEFECTS,
    PRETRAIN_SURFACES,
    SURFACES,
    TEST_SURFACES,
    TRAIN_SURFACES,
    VALIDATION_SURFACES,
    defects_of,
    draw,
)
from aaclip_kit_plugins.synthetic.drawing import AREA


def test_splits_share_no_surface_and_hold_out_textures() -> None:
    assert set(TRAIN_SURFACES) < set(PRETRAIN_SURFACES)
    assert len(PRETRAIN_SURFACES) >= 30 and len(TRAIN_SURFACES) >= 12
    splits = (PRETRAIN_SURFACES, VALIDATION_SURFACES, TEST_SURFACES)
    assert sum(map(len, splits)) == len(set().union(*splits)) == len(SURFACES)
    known = {SURFACES[name].texture for name in PRETRAIN_SURFACES}
    assert sum(SURFACES[name].texture not in known for name in TEST_SURFACES) >= 3
    assert sum(SURFACES[name].texture not in known for name in VALIDATION_SURFACES) >= 2


@pytest.mark.parametrize("surface", SURFACES)
def test_every_defect_of_every_surface_shows_in_an_allowed_area(surface: str) -> None:
    for seed, defect in enumerate(defects_of(surface)):
        drawing = draw(surface, seed, defect)
        assert drawing.image.shape == (112, 112, 3) and drawing.image.dtype == np.uint8
        assert 0.5 * AREA[0] <= drawing.mask.mean() <= AREA[1], defect


@pytest.mark.parametrize("defect", DEFECTS)
def test_outside_the_mask_only_the_camera_differs(defect: str) -> None:
    clean, drawing = draw("wire_mesh", 5), draw("wire_mesh", 5, defect)
    difference = np.abs(clean.image.astype(int) - drawing.image).mean(-1)
    rows, columns = np.nonzero(drawing.mask)
    outside = np.ones_like(drawing.mask)
    outside[max(0, rows.min() - 5) : rows.max() + 6, max(0, columns.min() - 5) : columns.max() + 6] = False
    assert difference[drawing.mask].mean() > 12
    assert difference[outside].mean() < 1.5


def test_a_drawing_is_decided_by_its_arguments() -> None:
    first, again, other = draw("wood", 3, "stain"), draw("wood", 3, "stain"), draw("wood", 4, "stain")
    assert np.array_equal(first.image, again.image) and np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)
    assert int(first.image.sum()) == pytest.approx(5_234_091, rel=1e-4)


@pytest.mark.parametrize("size", [56, 112, 168, 256])
def test_the_mask_keeps_its_place_at_every_size(size: int) -> None:
    drawing, reference = draw("rope_mat", 8, "hole", size), draw("rope_mat", 8, "hole", 112)
    assert drawing.mask.shape == (size, size)
    centre = np.argwhere(drawing.mask).mean(0) / size
    np.testing.assert_allclose(centre, np.argwhere(reference.mask).mean(0) / 112, atol=0.02)


def test_normal_drawings_have_empty_masks() -> None:
    assert not any(draw(surface, 1).mask.any() for surface in SURFACES)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing", 1, None, 112), "unknown surface 'nothing'"),
        (("wood", 1, "rust", 112), "defect 'rust' is unknown or cannot show on 'wood'"),
        (("painted_wall", 1, "warp", 112), "defect 'warp' is unknown or cannot show on 'painted_wall'"),
        (("wood", 1, None, 40), r"size 40 is outside \d+\.\.\d+"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[str, int, str | None, int], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        draw(*arguments)


def test_drawing_does_not_import_torch() -> None:
    code = "import sys, aaclip_kit_plugins.synthetic; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
