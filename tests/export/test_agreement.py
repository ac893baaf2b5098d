"""When an exported program counts as the same as PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from aaclip_kit import UserError
from aaclip_kit.export.agreement import Reference, Runner, compare, drawn_pictures

SCORES = np.array([0.2, 0.5, 0.9], np.float32)
MAPS = np.stack([np.full((4, 4), score, np.float32) for score in SCORES])
PICTURES = [np.full((4, 4, 3), number, np.uint8) for number in range(3)]
REFERENCE = Reference(np.stack(PICTURES), MAPS, SCORES)


def runner(shift: float = 0.0, batch_shift: float = 0.0) -> Runner:
    """A program whose scores and maps lie beside the right ones, those of several pictures at once by another shift."""

    def run(pictures: np.ndarray, threshold: float) -> Sequence[np.ndarray]:
        rows, more = pictures[:, 0, 0, 0], shift + (batch_shift if len(pictures) > 1 else 0)
        scores = SCORES[rows] + np.float32(more)
        return MAPS[rows] + np.float32(more), scores, scores >= np.float32(threshold)

    return run


def test_a_program_that_says_the_same_agrees() -> None:
    found = compare(runner(), REFERENCE, 0.5, exact=True)
    assert (found.images, found.decisions_that_flip) == (3, 0)
    assert found.largest_score_difference == found.largest_map_difference == 0


@pytest.mark.parametrize("shifts", [(-1e-4, 0.0), (0.0, -1e-4)])
def test_a_decision_that_flips_is_refused_though_the_numbers_are_close(shifts: tuple[float, float]) -> None:
    with pytest.raises(UserError, match=r"disagrees with PyTorch.* decisions flip"):
        compare(runner(*shifts), REFERENCE, 0.5, exact=True)


def test_numbers_that_are_far_off_are_refused_without_a_threshold_too() -> None:
    with pytest.raises(UserError, match=r"no threshold; largest difference 0\.01"):
        compare(runner(0.01), REFERENCE, None, exact=True)


def test_with_rounded_weights_flips_are_counted_and_not_refused() -> None:
    found = compare(runner(-0.01), REFERENCE, 0.5, exact=False)
    assert found.decisions_that_flip == 2  # alone, and among the others
    assert found.largest_score_difference == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize(("shift", "threshold", "told"), [(0.01, 0.505, True), (0.01, 0.6, False), (0.01, None, False)])
def test_scores_that_differ_by_more_than_their_median_is_from_the_threshold_decide_otherwise(
    shift: float, threshold: float | None, told: bool
) -> None:
    assert compare(runner(shift), REFERENCE, threshold, exact=False).decides_otherwise is told


def test_what_is_not_finite_is_always_refused() -> None:
    with pytest.raises(UserError, match="NaN"):
        compare(runner(np.nan), REFERENCE, 0.5, exact=False)


def test_drawn_pictures_are_the_same_each_time_and_of_several_sizes() -> None:
    first, second = drawn_pictures(), drawn_pictures()
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
    assert len({picture.shape for picture in first}) > 4
