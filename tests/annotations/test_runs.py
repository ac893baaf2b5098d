"""Masks as lengths of runs: what an encoder written another way makes of a mask becomes that mask again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from aaclip_kit.annotations.runs import coco_counts, from_brush, from_runs
from aaclip_kit.annotations.shapes import Undrawable

from .given import brush, brush_of, coco_text, runs, square

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=9))
few = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@given(MASKS)
@few
def test_the_runs_of_a_mask_are_the_mask(mask: np.ndarray) -> None:
    assert (from_runs(runs(mask), mask.shape[1], mask.shape[0]) == mask).all()


@given(st.lists(st.integers(0, 2**31), max_size=12))
@few
def test_the_text_of_runs_is_the_runs(counts: list[int]) -> None:
    assert coco_counts(coco_text(counts)) == counts


def of_columns(width: int, height: int, *parts: tuple[slice, slice, bool]) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    for rows, columns, value in parts:
        mask[rows, columns] = value
    return mask


PINNED = {
    "42102": of_columns(4, 3, (slice(1, 3), slice(1, 3), True)),
    "04": np.ones((2, 2), bool),
    "4": np.zeros((2, 2), bool),
    "`k5hm2`n10Pm3": of_columns(4, 5000, (slice(1000, 4000), slice(1, 3), True)),
    ";63LO014i0": of_columns(7, 9, (slice(2, 8), slice(1, 4), True), (slice(4, 6), slice(2, 3), False)),
}
"""What pycocotools 2.0.11 writes of these masks."""


@pytest.mark.parametrize("text", PINNED)
def test_a_text_that_pycocotools_writes_is_its_mask(text: str) -> None:
    height, width = PINNED[text].shape
    assert (from_runs(coco_counts(text), width, height) == PINNED[text]).all()


@given(
    st.lists(st.sampled_from([0, 1, 128, 255]), min_size=6, max_size=6),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.lists(st.integers(4, 16), min_size=4, max_size=4),
)
@few
def test_a_brush_marks_each_pixel_whose_alpha_is_not_zero(
    alphas: list[int], blocks: list[int], lengths: list[int]
) -> None:
    values = [value for alpha in alphas for value in (7, 0, 255, alpha)]
    marked = from_brush(bytes(brush(values, blocks, lengths)), 3, 2)
    assert marked.ravel().tolist() == [alpha > 0 for alpha in alphas]


@given(MASKS)
@few
def test_the_brush_of_a_mask_is_the_mask(mask: np.ndarray) -> None:
    assert (from_brush(bytes(brush_of(mask)), mask.shape[1], mask.shape[0]) == mask).all()


@pytest.mark.parametrize(
    ("counts", "problem"),
    [([3, -1, 4], "below zero"), ([3, 4], "of 7 pixels, and the image has 6"), ([], "of 0 pixels")],
)
def test_runs_of_another_image_are_refused(counts: list[int], problem: str) -> None:
    with pytest.raises(Undrawable, match=problem):
        from_runs(counts, 3, 2)


@pytest.mark.parametrize("text", ["é", "/", "P", "5P", "PPPPPPPP0", "\n"])
def test_a_text_that_is_none_of_cocos_is_refused(text: str) -> None:
    with pytest.raises(Undrawable, match="its RLE"):
        coco_counts(text)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "ends before"),
        (bytes(brush_of(square())[:-1]), "ends before"),
        (bytes(brush([0] * 4, [4])), "of 4 values"),
        (b"\0\0\x01\xe0" + b"\xf0" + bytes(40), "values of 31 bits"),
        (bytes(brush_of(square())[:4]) + bytes([0b00111111, 0b11111111, 0b11111111]) + b"\xff" * 9, "behind the image"),
    ],
)
def test_a_brush_of_another_image_or_cut_off_is_refused(content: bytes, problem: str) -> None:
    with pytest.raises(Undrawable, match=problem):
        from_brush(content, 12, 10)
