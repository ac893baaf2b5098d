"""COCO's JSON: outlines and runs, holes, crowds, and whatever is no mark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.annotations.annotated import Annotations
from aaclip_kit.annotations.coco import read_coco
from aaclip_kit.annotations.shapes import OVERLAPPING, Undrawable

from .given import HEIGHT, SIZE, SQUARE, WIDTH, coco, coco_text, drawn, runs, square

FILE = Path("coco.json")
RING = square()
RING[4:6, 3:5] = False


def read(content: Any) -> Annotations:
    return read_coco(FILE, content)


def as_runs(counts: Any) -> dict[str, Any]:
    return {"size": [HEIGHT, WIDTH], "counts": counts}


@pytest.mark.parametrize(
    ("segmentation", "expected"),
    [
        ([SQUARE], square()),
        ([[*SQUARE[:4], 6, 5, 2, 5], [2, 5, 6, 5, 6, 8, 2, 8]], square()),
        (as_runs(runs(RING)), RING),
        (as_runs(coco_text(runs(RING))), RING),
    ],
    ids=["an outline", "two parts", "runs with a hole", "their text"],
)
def test_outlines_and_runs_are_drawn(segmentation: Any, expected: np.ndarray) -> None:
    found = read(coco(segmentation))
    assert (drawn(found) == expected).all()
    assert found.annotated[0].size == SIZE and list(found.labels()) == ["scratch"]


def test_an_outline_within_another_is_filled_and_told_of() -> None:
    found = read(coco([SQUARE, [3, 4, 5, 4, 5, 6, 3, 6]]))
    (mark,) = found.annotated[0].marks or []
    patch = mark.draw(*SIZE)
    assert (drawn(found) == square()).all() and patch.remarks == (OVERLAPPING,)


@pytest.mark.parametrize("segmentation", [[], [[]], [[1, 1, 5, 5]], None])
def test_outlines_of_no_corner_or_two_mark_nothing(segmentation: Any) -> None:
    assert not drawn(read(coco(segmentation))).any()


def test_a_crowd_is_known_as_one() -> None:
    found = read(coco(as_runs(runs(RING)), iscrowd=1))
    assert [mark.is_crowd for mark in found.annotated[0].marks or ()] == [True]


@pytest.mark.parametrize(
    ("segmentation", "more", "problem"),
    [
        ([], {"bbox": [1, 2, 3, 4]}, "it has a box and no outline"),
        ([[1, 2, 3]], {}, "an odd number"),
        ([1, 2, 3, 4, 5, 6], {}, '"rings.0"'),
        ([["a", 2]], {}, '"rings.0.0"'),
        ([SQUARE], {"category_id": 5}, '"categories" has no id 5'),
        ({"size": [1, 2]}, {}, '"counts": Field required'),
        ([[float("nan"), 1, 2, 3, 4, 5]], {}, "finite number"),
        ([SQUARE], {"iscrowd": 5}, '"iscrowd"'),
    ],
)
def test_what_is_no_mark_is_a_fault_of_its_image(segmentation: Any, more: dict[str, Any], problem: str) -> None:
    (fault,) = read(coco(segmentation, **more)).annotated[0].faults
    assert problem in str(fault) and (fault.where or "").startswith("coco.json, annotations[0]") and fault.fix


def test_an_annotation_of_no_image_is_a_fault_of_the_file() -> None:
    found = read(coco([SQUARE], image_id=9))
    assert [fault.problem for fault in found.faults] == ['"images" has no id 9']


def test_runs_of_another_size_are_no_mark() -> None:
    (mark,) = read(coco({"size": [WIDTH, HEIGHT], "counts": runs(RING.T)})).annotated[0].marks or []
    with pytest.raises(Undrawable, match="of 10 x 12 pixels, and the image of 12 x 10"):
        mark.draw(*SIZE)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("images", [{"id": 1, "file_name": "a.png"}], '"width": Field required'),
        ("images", [{"id": 1, "file_name": "", "width": 1, "height": 1}], '"file_name"'),
        ("images", [{"id": 1, "file_name": "a", "width": 1, "height": 1}] * 2, "another image has the id 1"),
        ("categories", [{"id": 1}], '"name"'),
        ("annotations", {}, "list"),
    ],
)
def test_a_table_that_is_damaged_is_one_plain_error(key: str, value: Any, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        read({**coco([SQUARE]), key: value})
    assert problem in str(caught.value) and caught.value.fix
