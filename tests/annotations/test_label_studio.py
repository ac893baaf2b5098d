"""Label Studio's export: each kind of region, its annotators, and what its images are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.annotations.annotated import Annotations
from aaclip_kit.annotations.label_studio import CANCELLED, OTHER_RESULTS, read_label_studio
from aaclip_kit.annotations.shapes import Undrawable

from .given import HEIGHT, SIZE, SQUARE, WIDTH, base64_png, bitmask, brush_of, drawn, result, square, task

CORNERS = [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in zip(SQUARE[::2], SQUARE[1::2], strict=True)]
DATA = "data:image/png;base64,"
BOX = {"x": 200 / WIDTH, "y": 30, "width": 400 / WIDTH, "height": 50}


def read(*tasks: Any) -> Annotations:
    return read_label_studio(Path("export.json"), list(tasks))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("polygonlabels", {"points": CORNERS, "closed": True}, square()),
        ("polygon", {"points": CORNERS}, square()),
        ("rectanglelabels", {**BOX, "rotation": 0}, square()),
        ("rectangle", BOX, square()),
        (
            "rectanglelabels",
            {"x": 600 / WIDTH, "y": 30, "width": 500 / WIDTH, "height": 40, "rotation": 90},
            square(),
        ),
        ("brushlabels", {"format": "rle", "rle": brush_of(square())}, square()),
        ("bitmasklabels", bitmask(square()), square()),
        ("bitmask", bitmask(square()), square()),
        ("polygonlabels", {"points": CORNERS[:2]}, np.zeros(SIZE[::-1], bool)),
    ],
)
def test_each_kind_of_region_is_drawn(kind: str, value: dict[str, Any], expected: np.ndarray) -> None:
    found = read(task([result(kind, value)]))
    assert (drawn(found) == expected).all() and found.annotated[0].size == SIZE


def test_an_ellipse_is_turned_about_its_middle() -> None:
    value = {"x": 50, "y": 50, "radiusX": 400 / WIDTH, "radiusY": 15, "rotation": 90}
    mask = drawn(read(task([result("ellipselabels", value)])))
    assert mask.sum(axis=0).max() == 8 and mask.sum(axis=1).max() == 2 and (mask == mask[::-1, ::-1]).all()


def test_the_label_of_a_region_stands_in_it_or_in_a_result_of_its_own() -> None:
    apart = [result("rectangle", BOX), result("labels", {"labels": ["dent"]})]
    two = result("rectanglelabels", {**BOX, "rectanglelabels": ["dent", "scratch"]})
    found = read(task([result("rectanglelabels", BOX)]), task(apart), task([two]), task([result("rectangle", BOX)]))
    labels = [[mark.label for mark in one.marks or ()] for one in found.annotated]
    assert labels == [["scratch"], ["dent"], ["dent", "scratch"], ["(no label)"]]
    assert not found.tally.lines()


def test_each_annotator_is_one_and_who_skipped_the_image_is_none() -> None:
    both = task([result("rectanglelabels", BOX)], [])
    skipped = task([])
    skipped["annotations"][0]["was_cancelled"] = True
    found = read(both, skipped, task())
    assert [None if one.marks is None else len(one.marks) for one in found.annotated] == [1, 0, None, None]
    assert found.tally.lines() == [f"1 {CANCELLED}; the first is export.json, task 7, annotations[0]"]


def test_answers_that_mark_nothing_are_told_of() -> None:
    found = read(task([result("choices", {"choices": ["bad"]}), result("rectanglelabels", BOX)]))
    assert len(found.annotated[0].marks or ()) == 1
    assert found.tally.lines() == [f"1 {OTHER_RESULTS}; the first is export.json, task 7, annotations[0].result[0]"]


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (result("keypointlabels", {"x": 1, "y": 1}), "of the kind 'keypointlabels' is not read"),
        (result("polygonlabels", {"points": [[1]]}), '"points.0'),
        (result("rectanglelabels", {"x": 1}), '"y": Field required'),
        (result("brushlabels", {"format": "png", "rle": []}), "no RLE of bytes"),
        (result("brushlabels", {"format": "rle", "rle": [300]}), "no RLE of bytes"),
        (result("bitmasklabels", {}), '"imageDataURL": Field required'),
        (result("bitmasklabels", {"imageDataURL": "http://host/a.png"}), "no PNG in base64"),
        (result("bitmasklabels", {"imageDataURL": DATA + "?"}), "is no base64"),
        (result("bitmasklabels", {"imageDataURL": DATA + "AAAA"}), "cannot be read as an image"),
        (result("bitmasklabels", {"imageDataURL": DATA + base64_png(square())}), "no alpha channel"),
        (result("rectanglelabels", BOX, image_rotation=90), "turned in Label Studio"),
        ("text", "valid dictionary"),
    ],
)
def test_what_is_no_mark_is_a_fault_of_its_image(one: Any, problem: str) -> None:
    (fault,) = read(task([one])).annotated[0].faults
    assert problem in str(fault) and "task 7, annotations[0].result[0]" in str(fault)


def test_a_bitmask_of_another_size_than_the_image_is_not_drawn() -> None:
    marks = read(task([result("bitmasklabels", bitmask(square().T))])).annotated[0].marks
    assert marks is not None
    with pytest.raises(Undrawable, match=f"of {HEIGHT} x {WIDTH} pixels, and the image of {WIDTH} x {HEIGHT}"):
        marks[0].draw(*SIZE)


def test_regions_that_state_two_sizes_are_a_fault() -> None:
    found = read(task([result("rectanglelabels", BOX), result("rectanglelabels", BOX, original_width=99)]))
    assert [fault.problem for fault in found.annotated[0].faults] == ["regions of one image state two sizes of it"]


@pytest.mark.parametrize(
    ("image", "names"),
    [
        ("/data/upload/1/0123abcd-a%20b.png", ("/data/upload/1/0123abcd-a b.png", "a b.png")),
        ("/data/local-files/?d=photos/x/a.png", ("photos/x/a.png",)),
        ("s3://store/x/a.png", ("/x/a.png",)),
        ("https://host/x/a.png?key=1#part", ("/x/a.png",)),
        ("a#1.png", ("a#1.png",)),
    ],
)
def test_the_image_is_the_path_in_its_address(image: str, names: tuple[str, ...]) -> None:
    assert read(task([], image=image)).annotated[0].names == names


def test_the_only_image_of_a_task_may_have_any_key_and_of_several_none_is_taken() -> None:
    found = read(task([], data={"photo": "a.png", "text": "no image", "count": 3}))
    assert found.annotated[0].names == ("a.png",)
    several = read(task([], data={"left": "a.png", "right": "b.png"}))
    assert [fault.problem for fault in several.faults] == ['its data name 2 images, and none of them as "image"']


@pytest.mark.parametrize("content", [{"image": "a.png", "label": []}, 3, {"data": [], "annotations": []}])
def test_another_json_is_one_plain_error(content: Any) -> None:
    with pytest.raises(UserError) as caught:
        read(content)
    assert caught.value.fix and "export.json, task" in str(caught.value)
