"""Images that the embedded model has walked already: they are not walked again, and nothing else changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from aaclip_kit_plugins.embedded import EmbeddedOptions, stem
from aaclip_kit_plugins.embedded.backbone import EmbeddedBackbone
from aaclip_kit_plugins.embedded.memo import MOST, Memo
from aaclip_kit_plugins.embedded.stem import CHANNELS, DISTANCES, TOGETHER, PatchTokens, Stem
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

BYTES = CHANNELS * 3 * 3 * 4
"""Of one image's features at 24 pixels."""


def images(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture
def walked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many images each walk through a stem has had."""
    counts: list[int] = []
    whole = Stem._walk

    def counting(self: Stem, pixels: Tensor) -> Tensor:
        counts.append(len(pixels))
        return whole(self, pixels)

    monkeypatch.setattr(Stem, "_walk", counting)
    with torch.no_grad():
        yield counts


@pytest.fixture
def tokens() -> PatchTokens:
    torch.manual_seed(0)
    return PatchTokens(8).requires_grad_(False)


def without_memo(tokens: PatchTokens, pixels: Tensor) -> Tensor:
    with torch.enable_grad():
        return tokens(pixels)


def test_an_image_that_comes_again_is_not_walked_again(tokens: PatchTokens, walked: list[int]) -> None:
    first = tokens(images(6))
    assert walked == [4, 4] and len(tokens.memo._features) == 6
    assert torch.equal(tokens(images(6)), first)
    assert torch.equal(tokens(images(6)[2:]), first[2:])
    assert walked == [4, 4]
    assert torch.equal(tokens.features(images(6)), tokens.stem(images(6))[:, :-DISTANCES])


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [9, 3, 9, 0, 7], [8, 9, 10, 11, 0], [11, 10, 9, 8, 7, 6, 5, 4]])
def test_features_are_the_same_to_the_bit_with_the_memo_and_without(
    tokens: PatchTokens, walked: list[int], places: list[int]
) -> None:
    """Of a batch some images may be known, some new, and some twice in it."""
    pixels = images(12)
    expected = without_memo(tokens, pixels)
    tokens(pixels[:4])
    for _ in range(2):
        assert torch.equal(tokens(pixels[places]), without_memo(tokens, pixels[places]))
        assert torch.equal(tokens.stem(pixels[places]), tokens.stem(pixels)[places]), "whatever else is in the batch"
    assert torch.equal(tokens(pixels), expected)


def test_a_training_step_keeps_nothing(tokens: PatchTokens, walked: list[int]) -> None:
    for _ in range(2):
        without_memo(tokens, images(4))
    assert walked == [4, 4] and not tokens.memo._features


def test_fewer_images_than_go_together_are_walked_as_they_are(tokens: PatchTokens, walked: list[int]) -> None:
    tokens(images(TOGETHER - 1))
    tokens(images(1))
    assert walked == [TOGETHER - 1, 1] and not tokens.memo._features


def test_other_weights_make_other_features(tokens: PatchTokens, walked: list[int]) -> None:
    pixels, other = images(4), Stem()
    tokens(pixels)
    tokens.stem.load_state_dict(other.state_dict())
    assert torch.equal(tokens(pixels), without_memo(tokens, pixels))
    weight = tokens.stem.blocks[3].get_parameter("project.weight")
    weight.data.mul_(1.5)  # which leaves torch's count of changes as it was
    assert torch.equal(tokens(pixels), without_memo(tokens, pixels))
    weight.data = weight.data / 1.5
    assert torch.equal(tokens(pixels), without_memo(tokens, pixels))
    assert tokens.memo.held == 4 * BYTES and len(walked) == 7


def test_half_precision_and_autocast_have_features_of_their_own(tokens: PatchTokens, walked: list[int]) -> None:
    pixels = images(4)
    whole = tokens(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = tokens(pixels)
        assert torch.equal(rounded, without_memo(tokens, pixels))
    assert not torch.equal(rounded.float(), whole)
    assert torch.equal(tokens(pixels), whole)
    half = tokens.to(torch.float64)(pixels.double())
    assert half.dtype == torch.float64 and len(walked) == 4


def test_the_memo_is_bounded_and_lets_the_image_go_that_was_used_longest_ago(walked: list[int]) -> None:
    tokens = PatchTokens(8).requires_grad_(False)
    tokens.memo = Memo(6 * BYTES)
    pixels = images(8)
    tokens(pixels[:6])
    tokens(pixels[:4])  # the fifth and sixth are now the oldest
    tokens(pixels[4:8])
    assert tokens.memo.held == 6 * BYTES == sum(one.nbytes for one in tokens.memo._features.values())
    before = len(walked)
    tokens(pixels[[2, 3, 4, 5, 6, 7]])
    assert len(walked) == before
    tokens(pixels[[0, 1, 2, 3]])
    assert len(walked) == before + 1
    assert 1000 * CHANNELS * 14 * 14 * 4 < MOST < 2**28


def test_a_copy_begins_empty_and_threads_share_one(tokens: PatchTokens, walked: list[int]) -> None:
    pixels = images(16)
    expected = tokens(pixels)
    other = copy.deepcopy(tokens)
    assert not other.memo._features and torch.equal(other(pixels), expected)
    other.memo = Memo(5 * BYTES)

    def several(seed: int) -> bool:
        places = torch.randint(16, (5,), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            found = other(pixels[places])
        return torch.equal(found, without_memo(tokens, pixels[places]))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(several, range(40)))
    assert other.memo.held == 5 * BYTES


@torch.no_grad()
def test_tensors_without_values_have_no_memo(tokens: PatchTokens) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        found = tokens(torch.empty(4, 3, 24, 24))
    assert found.shape == (4, 8, 3, 3) and not tokens.memo._features


def test_the_rule_that_knows_nothing_asks_for_no_distances(monkeypatch: pytest.MonkeyPatch, walked: list[int]) -> None:
    backbone = EmbeddedBackbone(EmbeddedOptions(image_size=24))
    pixels = images(5)
    backbone.embed_image(pixels)
    expected = backbone.clip.visual.conv1.stem(pixels)[:, :-DISTANCES]
    del walked[:]
    assert torch.equal(backbone.rule_features(pixels), expected.flatten(2).transpose(1, 2)) and not walked
    monkeypatch.setattr(stem, "distances", lambda features: pytest.fail("distances were computed"))
    found = backbone.rule_features(torch.cat([pixels, images(3, seed=2)]))
    assert torch.equal(found[:5], expected.flatten(2).transpose(1, 2)) and found.shape == (8, 9, CHANNELS - DISTANCES)
    monkeypatch.undo()
    with torch.no_grad():
        assert torch.equal(
            backbone.embed_image(images(4, seed=2)),
            EmbeddedBackbone(EmbeddedOptions(image_size=24)).embed_image(images(4, seed=2)),
        )
