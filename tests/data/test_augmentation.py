"""Augmentation: image and mask move together, each kind with its probability, and by the generator alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from aaclip_kit.data.augmentation import jitter_color, move
from aaclip_kit.experiment.schema import AugmentationTable

from ..helpers import assert_close

SIDE = 48


class Draws(np.random.Generator):
    """A generator whose draws are written down: four chances, the angle, the two shifts."""

    def __init__(self, chances: tuple[float, ...], angle: float = 0.0, shift: tuple[float, ...] = (0.0, 0.0)) -> None:
        super().__init__(np.random.PCG64(0))
        self.chances, self.values = np.array(chances), [angle, np.array(shift)]

    def random(self, size: int) -> np.ndarray:  # type: ignore[override]
        assert size == len(self.chances)
        return self.chances

    def uniform(self, low: float, high: float, size: int | None = None) -> object:  # type: ignore[override]
        assert (low, high) == (-1, 1)
        return self.values.pop(0)


YES, NO = 0.0, 0.9


def marked() -> tuple[Tensor, Tensor]:
    """An image that is 5 on a blob off the centre, with its mask, and 1 elsewhere."""
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 14:22, 26:38] = 1
    return (1 + 4 * mask).repeat(3, 1, 1), mask


@pytest.mark.parametrize("seed", range(12))
def test_the_mask_of_a_mark_stays_on_the_mark(seed: int) -> None:
    image, mask = move(*marked(), AugmentationTable(geometry=1.0), np.random.default_rng(seed))
    assert set(image.unique().tolist()) <= {0.0, 1.0, 5.0}, "nearest neighbour, filled with 0"
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close((image[:1] == 5).float(), mask, rtol=0, atol=0)


def test_probability_0_does_nothing_and_1_always_acts() -> None:
    still, always = AugmentationTable(geometry=0.0), AugmentationTable(geometry=1.0)
    for seed in range(20):
        image, mask = move(*marked(), still, np.random.default_rng(seed))
        assert torch.equal(image, marked()[0])
        assert torch.equal(mask, marked()[1])
        assert not torch.equal(move(*marked(), always, np.random.default_rng(seed))[0], marked()[0])


def test_each_kind_acts_in_half_of_the_cases() -> None:
    table = AugmentationTable(rotation=0, translation=0)
    image, mask = torch.rand(3, 4, 4), torch.zeros(1, 4, 4)
    found = [move(image, mask, table, np.random.default_rng(seed))[0] for seed in range(300)]
    flips = {(): image, (2,): image.flip(2), (1,): image.flip(1), (1, 2): image.flip(1, 2)}
    counts = {axes: sum(torch.equal(one, flipped) for one in found) for axes, flipped in flips.items()}
    assert sum(counts.values()) == len(found)
    assert all(50 < count < 100 for count in counts.values()), counts


def test_flips_are_exact() -> None:
    image, mask = torch.rand(3, SIDE, SIDE), (torch.rand(1, SIDE, SIDE) > 0.5).float()
    for chances, axes in (((NO, NO, YES, NO), (2,)), ((NO, NO, NO, YES), (1,)), ((NO, NO, YES, YES), (1, 2))):
        moved = move(image, mask, AugmentationTable(), Draws(chances))
        assert torch.equal(moved[0], image.flip(axes))
        assert torch.equal(moved[1], mask.flip(axes))


@pytest.mark.parametrize("shift", [(0.25, 0.0), (0.0, -0.5), (-0.25, 0.5)])
def test_translation_moves_by_a_fraction_of_the_side_and_fills_with_0(shift: tuple[float, float]) -> None:
    image, mask = torch.rand(3, 8, 8) + 1, torch.ones(1, 8, 8)
    table = AugmentationTable(translation=0.5)
    moved, filled = move(image, mask, table, Draws((NO, YES, NO, NO), shift=shift))
    right, down = round(0.5 * shift[0] * 8), round(0.5 * shift[1] * 8)
    expected = torch.zeros(4, 8, 8)
    inside_x, inside_y = slice(max(0, right), 8 + min(0, right)), slice(max(0, down), 8 + min(0, down))
    from_x, from_y = slice(max(0, -right), 8 + min(0, -right)), slice(max(0, -down), 8 + min(0, -down))
    expected[:, inside_y, inside_x] = torch.cat([image, mask])[:, from_y, from_x]
    assert torch.equal(torch.cat([moved, filled]), expected)


@pytest.mark.parametrize(("part", "quarters"), [(1.0, -1), (-1.0, 1)])
def test_rotation_of_90_degrees_turns_exactly(part: float, quarters: int) -> None:
    image, mask = torch.rand(3, 8, 8), torch.rand(1, 8, 8)
    moved = torch.cat(move(image, mask, AugmentationTable(rotation=90), Draws((YES, NO, NO, NO), angle=part)))
    assert torch.equal(moved, torch.rot90(torch.cat([image, mask]), quarters, (1, 2)))


def test_rotation_is_about_the_centre_and_comes_before_translation() -> None:
    image, mask = torch.rand(3, 8, 8), torch.rand(1, 8, 8)
    table = AugmentationTable(rotation=90, translation=0.5)
    moved = torch.cat(move(image, mask, table, Draws((YES, YES, NO, NO), angle=1.0, shift=(0.5, 0.0))))
    turned = torch.rot90(torch.cat([image, mask]), -1, (1, 2))
    assert torch.equal(moved[..., 2:], turned[..., :-2])
    assert not moved[..., :2].any()


def test_rotation_keeps_within_its_bound() -> None:
    """A point on the right edge of the middle row moves by less than 30 degrees, and reaches near to them."""
    image, mask = torch.zeros(3, 201, 201), torch.zeros(1, 201, 201)
    mask[0, 98:103, 178:183] = 1
    angles = []
    for seed in range(60):
        moved = move(image, mask, AugmentationTable(geometry=1.0, translation=0), np.random.default_rng(seed))[1]
        y, x = torch.nonzero(moved[0]).double().mean(dim=0).tolist()
        angles.append(abs(np.degrees(np.arctan2(y - 100, abs(x - 100)))))
    assert 25 < max(angles) < 31
    assert min(angles) < 5


def test_the_same_generator_gives_the_same_picture() -> None:
    first, second = (move(*marked(), AugmentationTable(), np.random.default_rng(5)) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8))


def test_colours_change_with_their_probability_and_within_their_strength() -> None:
    given = picture()
    assert jitter_color(given, AugmentationTable(color=0.0), np.random.default_rng(0)) is given
    unmoved = jitter_color(given, AugmentationTable(color=1, jitter=0), np.random.default_rng(0))
    assert np.array_equal(np.asarray(unmoved), np.asarray(given))
    changed = [jitter_color(given, AugmentationTable(), np.random.default_rng(seed)) for seed in range(200)]
    untouched = sum(one is given for one in changed)
    assert untouched == pytest.approx(0.3**3 * 200, abs=6)
    means = [np.asarray(one).mean() / np.asarray(given).mean() for one in changed]
    assert 0.45 < min(means) < 0.7
    assert 1.3 < max(means) < 1.55


class OneActs(np.random.Generator):
    """A generator by whose draws one of the three colour changes acts, by its factor."""

    def __init__(self, place: int, factor: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.chances, self.part = [YES if one == place else NO for one in range(3)], 2 * (factor - 1)

    def random(self) -> float:  # type: ignore[override]
        return self.chances.pop(0)

    def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
        return self.part


@pytest.mark.parametrize("factor", [0.6, 1.3])
def test_the_three_changes_are_brightness_contrast_and_saturation(factor: float) -> None:
    """Towards black, towards one grey of the picture's mean, and towards each pixel's own grey, or away from it."""
    colours = np.random.default_rng(0).integers(60, 180, (20, 20, 3), dtype=np.uint8)
    grey = (colours @ [0.299, 0.587, 0.114])[..., None]
    away_from = (np.zeros(1), grey.mean(), grey)
    for place, start in enumerate(away_from):
        found = jitter_color(Image.fromarray(colours), AugmentationTable(jitter=0.5), OneActs(place, factor))
        expected = np.clip(start + factor * (colours - start), 0, 255)
        # Greys and results are whole numbers.
        assert_close(np.asarray(found).astype(float), expected, rtol=0, atol=1.5)


def test_the_stream_does_not_depend_on_what_acts() -> None:
    """As many draws whether a change acts or not, so that one probability does not reshuffle everything else."""
    ends = set()
    for color in (0.0, 0.5, 1.0):
        random = np.random.default_rng(3)
        jitter_color(picture(), AugmentationTable(color=color), random)
        ends.add(random.random())
    assert len(ends) == 1
