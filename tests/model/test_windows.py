"""Windows: which patches they hold, their embeddings one by one, and what they do not depend on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaclip_kit import Backbone, UserError
from aaclip_kit.experiment import load
from aaclip_kit.model import windows
from aaclip_kit.model.windows import window_embeddings, window_patches
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble

from ..build import build, images_for
from ..helpers import assert_close


@pytest.fixture
def backbone(small_experiment: Path) -> Backbone:
    return build(small_experiment).model.backbone


@pytest.fixture
def embedded(small_experiment: Path, backbone: Backbone) -> Tensor:
    return backbone.embed_image(images_for(build(small_experiment), 3))


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_windows_stand_row_by_row_and_so_do_their_patches(side: int) -> None:
    expected = [
        [(top + row) * 4 + left + column for row in range(side) for column in range(side)]
        for top in range(4 - side + 1)
        for left in range(4 - side + 1)
    ]
    assert window_patches(4, side).tolist() == expected


@torch.no_grad()
@pytest.mark.parametrize("side", [1, 2, 3])
@pytest.mark.parametrize("at_once", [7, 8192])
def test_each_embedding_is_of_a_windows_patches_alone(
    backbone: Backbone, embedded: Tensor, side: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(windows._TOKENS, "cpu", at_once)
    found = window_embeddings(backbone, embedded, side)
    for image, of_image in zip(embedded, found, strict=True):
        for patches, embedding in zip(window_patches(backbone.grid, side), of_image, strict=True):
            tokens = torch.cat([image[:1], image[1:][patches]])[None]
            for block in range(backbone.vision.depth):
                tokens = backbone.vision_block(block, tokens)
            assert_close(embedding, backbone.project_image(backbone.finish_vision(tokens)[:, 0])[0], atol=1e-5)


@torch.no_grad()
def test_an_images_embeddings_do_not_depend_on_the_others_to_the_last_bit(
    backbone: Backbone, embedded: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(windows._TOKENS, "cpu", 50)
    others = torch.cat([embedded[:1], -embedded[1:]])
    assert torch.equal(window_embeddings(backbone, embedded, 2)[0], window_embeddings(backbone, others, 2)[0])


@pytest.mark.parametrize("side", [0, 5])
def test_a_window_that_does_not_fit_the_grid_is_refused(side: int) -> None:
    with pytest.raises(UserError, match=f"a window of {side} x {side} patches does not fit a grid of 4 x 4"):
        window_patches(4, side)


def test_it_is_refused_before_anything_runs(small_experiment: Path) -> None:
    experiment = load(small_experiment, discover(), ["head.use=win_clip", "head.scales=[2, 5]"])
    with pytest.raises(UserError, match="a window of 5 x 5 patches does not fit a grid of 4 x 4"):
        assemble(experiment)
