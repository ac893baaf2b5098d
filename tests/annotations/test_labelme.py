"""LabelMe's files: each of its shapes, and where its images are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.annotations.labelme import read_labelme
from aaclip_kit.annotations.shapes import Undrawable

from .given import SIZE, SQUARE, base64_png, drawn, labelme, shape, square, written

CORNERS = [SQUARE[place : place + 2] for place in range(0, 8, 2)]
MASK = np.array([[1, 0, 1, 1], [1, 1, 1, 0]], bool)


def placed(top: int, left: int, part: np.ndarray) -> np.ndarray:
    mask = np.zeros(SIZE[::-1], bool)
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part
    return mask


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (shape(CORNERS), square()),
        (shape(CORNERS, None), square()),
        (shape(CORNERS, "oriented_rectangle"), square()),
        (shape([[6, 8], [2, 3]], "rectangle"), square()),
        (shape(CORNERS, "rectangle"), square()),
        (shape([[3.5, 4.5], [3.5, 5.6]], "circle"), placed(3, 2, np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool))),
        (shape([[5, 2], [8, 3]], "mask", mask=base64_png(MASK)), placed(2, 5, MASK)),
        (shape([[10, 9], [13, 10]], "mask", mask=base64_png(MASK)), placed(9, 10, MASK[:1, :2])),
        (shape(CORNERS[:2]), np.zeros(SIZE[::-1], bool)),
        (shape([]), np.zeros(SIZE[::-1], bool)),
    ],
    ids=lambda value: value["shape_type"] if isinstance(value, dict) else "",
)
def test_each_shape_is_drawn(tmp_path: Path, one: dict[str, Any], expected: np.ndarray) -> None:
    found = read_labelme(written(tmp_path / "a.json", labelme(one)))
    assert (drawn(found) == expected).all() and found.annotated[0].size == SIZE


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (shape([[1, 1], [5, 5]], "linestrip"), "'linestrip' marks no area"),
        (shape([[1, 1]], "point"), "'point' marks no area"),
        (shape([[1, 1]], "circle"), "a circle has no 1 points"),
        (shape([[1, 1, 1]]), '"points.0"'),
        (shape([[1, 1], [2, 2]], "mask"), "cannot be read as an image"),
        (shape([[1, 1], [2, 2]], "mask", mask="?"), "no base64"),
        ({"points": []}, '"label": Field required'),
    ],
)
def test_what_is_no_mark_is_a_fault_of_its_image(tmp_path: Path, one: dict[str, Any], problem: str) -> None:
    found = read_labelme(written(tmp_path / "a.json", labelme(one)))
    (fault,) = found.annotated[0].faults
    assert problem in str(fault) and "a.json, shapes[0]" in str(fault)


def test_a_small_mask_of_another_size_than_its_box_is_no_mark(tmp_path: Path) -> None:
    found = read_labelme(written(tmp_path / "a.json", labelme(shape([[5, 2], [8, 8]], "mask", mask=base64_png(MASK)))))
    with pytest.raises(Undrawable, match="its mask is 4 x 2 pixels"):
        drawn(found)


def test_a_folder_is_read_whole_and_paths_start_from_each_file(tmp_path: Path) -> None:
    written(tmp_path / "x/a.json", labelme(name="a.png"))
    written(tmp_path / "b.json", labelme(name="..\\photos\\b.png"))
    found = read_labelme(tmp_path)
    assert [one.names for one in found.annotated] == [("../photos/b.png",) * 2, ("x/a.png", "a.png")]


@pytest.mark.parametrize("content", ["[]", "{}", "no JSON", '{"shapes": [], "imagePath": 3}'])
def test_another_file_is_one_plain_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match=r"JSON|imagePath|damaged"):
        read_labelme(written(tmp_path / "a.json", content))
