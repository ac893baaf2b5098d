"""The memory of patches: what it keeps, how far it says that images are, and how that joins what the head says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from aaclip_kit_plugins.patch_memory import PatchMemoryOptions
from aaclip_kit_plugins.patch_memory.memory import LEAST_UNIT, PatchMemory
from pydantic import ValidationError
from torch import Tensor

from aaclip_kit import Answer, Backbone, Bank, ImageTokens, NormalScores, Reference, ReferenceSetting, Scores, UserError

from ..helpers import assert_close

SIDE, LEVELS, WIDTH = 5, (1, 2), 8
PLAIN = NormalScores(grid_mean=0.3, grid_deviation=0.2, image_mean=0.5, image_deviation=0.04)


def memory(**options: Any) -> PatchMemory:
    setting = ReferenceSetting(backbone=Mock(spec=Backbone, grid=SIDE), levels=LEVELS)
    return PatchMemory(PatchMemoryOptions(**options), setting)


def images(count: int, seed: int = 0, levels: tuple[int, ...] = LEVELS) -> list[ImageTokens]:
    generator = torch.Generator().manual_seed(seed)
    one = {level: torch.randn(count, SIDE * SIDE, WIDTH, generator=generator) for level in levels}
    return [ImageTokens({level: of[place : place + 1] for level, of in one.items()}) for place in range(count)]


def together(parts: list[ImageTokens]) -> ImageTokens:
    return ImageTokens({level: torch.cat([part.levels[level] for part in parts]) for level in parts[0].levels})


def answers(left_out: Iterator[tuple[Bank, Answer] | None]) -> list[tuple[Bank, Answer]]:
    return [one for one in left_out if one is not None]


def same(one: Bank, other: Bank) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def distances(queries: Tensor, stored: Tensor, neighbours: int = 1) -> Tensor:
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], stored[None], dim=2)
    return 1 - cosines.topk(neighbours, dim=1).values.mean(dim=1)


@pytest.mark.parametrize("coreset", [1.0, 0.3])
@pytest.mark.parametrize("count", [1, 4])
def test_order_and_parts_do_not_matter(coreset: float, count: int) -> None:
    normal, own = images(count), memory(coreset=coreset)
    bank = own.fill(normal)
    assert same(bank, own.fill(reversed(normal)))
    assert same(bank, own.fill([together(normal)]))
    if count > 1:
        assert same(bank, own.fill(normal[:1], own.fill(normal[1:])))


@pytest.mark.parametrize("neighbours", [1, 3])
def test_an_answer_is_the_mean_over_the_levels_of_the_distances(neighbours: int) -> None:
    own, normal, asked = memory(neighbours=neighbours), images(3), together(images(2, seed=5))
    answer, known = own.answer(own.fill(normal), asked), together(normal)
    for place in range(2):
        levels = [
            distances(asked.levels[level][place], known.levels[level].flatten(0, 1), neighbours) for level in LEVELS
        ]
        assert_close(answer.grid[place].flatten(), torch.stack(levels).mean(dim=0))
        assert_close(answer.detection[place], answer.grid[place].max())


def test_a_remembered_image_is_at_no_distance() -> None:
    own, normal = memory(), images(2)
    assert_close(own.answer(own.fill(normal), normal[1]).grid, torch.zeros(1, SIDE, SIDE))


def test_levels_act() -> None:
    own, normal = memory(levels=[2]), images(3)
    assert own.levels == (2,) and memory().levels == LEVELS
    other = images(1, seed=9)[0]
    mixed = ImageTokens({1: other.levels[1], 2: normal[0].levels[2]})
    assert_close(own.answer(own.fill(normal), mixed).grid, torch.zeros(1, SIDE, SIDE))
    assert memory().answer(memory().fill(normal), mixed).grid.min() > 0


@pytest.mark.parametrize(
    ("tokens", "said"), [("raw", (False, False)), ("normed", (True, False)), ("projected", (True, True))]
)
def test_tokens_act(tokens: str, said: tuple[bool, bool]) -> None:
    reads = memory(tokens=tokens).reads
    assert (reads.normed, reads.projected) == said


def test_coreset_keeps_its_share_of_each_half() -> None:
    bank = memory(coreset=0.3).fill(images(2))
    upper, lower = round(0.3 * 13), round(0.3 * 12)
    assert bank["patches"].shape == (2, len(LEVELS), upper + lower, WIDTH)


def test_seed_moves_the_coreset() -> None:
    assert any(
        not same(memory(coreset=0.3).fill(images(2)), memory(coreset=0.3, seed=n).fill(images(2))) for n in (1, 2)
    )


def test_the_scale_is_of_each_image_against_the_others() -> None:
    normal, own = images(3), memory()
    found = []
    for place, image in enumerate(normal):
        rest = together(normal[:place] + normal[place + 1 :])
        levels = [distances(image.levels[level][0], rest.levels[level].flatten(0, 1)) for level in LEVELS]
        found.append(torch.stack(levels).mean(dim=0))
    scale = torch.stack(found)
    assert_close(own.fill(normal)["scale"], torch.stack([scale.mean(), scale.std(correction=0)]))


def test_the_scale_of_one_image_is_of_its_halves() -> None:
    (image,), found = images(1), []
    for level in LEVELS:
        upper, lower = image.levels[level][0].split([13, 12])
        found.append(torch.cat([distances(upper, lower), distances(lower, upper)]))
    scale = torch.stack(found).mean(dim=0)
    assert_close(memory().fill([image])["scale"], torch.stack([scale.mean(), scale.std(correction=0)]))


@pytest.mark.parametrize("options", [{}, {"neighbours": 3}, {"coreset": 0.3, "neighbours": 9}])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_leaving_an_image_out_is_as_a_bank_of_the_others(options: dict[str, Any], count: int) -> None:
    own, normal = memory(**options), images(count)
    found, naive = answers(own.left_out(normal)), answers(Reference.left_out(own, normal))
    assert len(found) == len(naive) == count
    for (bank, answer), (whole, expected) in zip(found, naive, strict=True):
        assert_close(bank["scale"], whole["scale"])
        assert_close(answer.grid, expected.grid)
        assert_close(answer.detection, expected.detection)


@pytest.mark.parametrize("options", [{}, {"neighbours": 3}])
@pytest.mark.parametrize("sizes", [(1, 2), (3, 1, 2), (2, 2)])
def test_parts_of_an_image_are_left_out_together(options: dict[str, Any], sizes: tuple[int, ...]) -> None:
    own, every = memory(**options), iter(images(sum(sizes)))
    wholes = [together([next(every) for _ in range(size)]) for size in sizes]
    every_two = zip(answers(own.left_out(wholes)), answers(Reference.left_out(own, wholes)), strict=True)
    for (bank, answer), (whole, expected) in every_two:
        assert_close(bank["scale"], whole["scale"])
        assert_close(answer.grid, expected.grid)
        assert_close(answer.detection, expected.detection)


def test_images_that_are_all_alike_are_refused() -> None:
    with pytest.raises(UserError, match="all alike"):
        memory().fill(images(1) * 2)


def combined(own: PatchMemory, smooth: bool = False) -> tuple[Scores, Scores, Tensor]:
    """What the head says, what results, and how far the patches are in deviations."""
    bank, asked = own.fill(images(3)), together(images(2, seed=5))
    answer = own.answer(bank, asked)
    generator = torch.Generator().manual_seed(2)
    scores = Scores(*(torch.rand(2, *shape, generator=generator) for shape in ((SIDE, SIDE), (10, 10), ())))
    far = (answer.grid - bank["scale"][0]) / bank["scale"][1]
    return scores, own.combine(scores, answer, bank=bank, normal=PLAIN, smooth=smooth), far


def test_combine_adds_to_the_head_in_its_own_deviations() -> None:
    scores, result, far = combined(memory(weight=2.0))
    assert_close(result.grid, scores.grid + 2.0 * PLAIN.grid_deviation * far)
    assert_close(result.detection, scores.detection + 2.0 * PLAIN.image_deviation * far.flatten(1).amax(dim=1))
    enlarged = torch.nn.functional.interpolate(far[:, None], 10, mode="bilinear", align_corners=False)[:, 0]
    assert_close(result.maps, scores.maps + 2.0 * PLAIN.grid_deviation * enlarged)


def test_combine_alone_keeps_the_scale_of_the_head_and_not_its_map() -> None:
    _, result, far = combined(memory(combine="alone"))
    assert_close(result.grid, PLAIN.grid_mean + PLAIN.grid_deviation * far)
    assert_close(result.detection, PLAIN.image_mean + PLAIN.image_deviation * far.flatten(1).amax(dim=1))


def test_sigma_smooths_where_smoothing_is_on() -> None:
    plain, smooth, off = (combined(memory(sigma=s), on)[1].maps for s, on in ((1.0, False), (1.0, True), (0.0, True)))
    assert_close(plain, off)
    assert smooth.std() < plain.std()


def test_image_scores_have_a_least_unit() -> None:
    own, bank = memory(), memory().fill(images(3))
    answer = own.answer(bank, images(1, seed=5)[0])
    scores = Scores(torch.zeros(1, SIDE, SIDE), torch.zeros(1, 10, 10), torch.zeros(1))
    single = NormalScores(grid_mean=0.0, grid_deviation=1.0, image_mean=0.0, image_deviation=0.0)
    result = own.combine(scores, answer, bank=bank, normal=single, smooth=False)
    far = (answer.detection - bank["scale"][0]) / bank["scale"][1]
    assert_close(result.detection, own.options.weight * LEAST_UNIT * far)


def test_levels_ascend() -> None:
    with pytest.raises(ValidationError, match="ascending"):
        PatchMemoryOptions(levels=(3, 1))
