"""Class embeddings of windows against one window of one image at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaclip_kit import Backbone, Reads, UserError
from aaclip_kit.experiment import load
from aaclip_kit.model import windows
from aaclip_kit.model.windows import window_embeddings, window_patches
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble

from ..build import build, images_for
from ..helpers import assert_close


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment)


def naive(backbone: Backbone, image: Tensor, row: int, column: int, side: int) -> Tensor:
    """The class token and the patches of one window, alone through every block."""
    embedded = backbone.embed_image(image[None])[0]
    grid = embedded[1:].unflatten(0, (backbone.grid, backbone.grid))
    x = torch.cat([embedded[:1], grid[row : row + side, column : column + side].flatten(0, 1)])[None]
    for block in range(backbone.vision.depth):
        x = backbone.vision_block(block, x)
    return backbone.project_image(backbone.finish_vision(x)[:, 0])[0]


@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("at_once", [8192, 11])
@torch.no_grad()
def test_every_window_is_embedded_alone(run: Run, side: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(windows._TOKENS, "cpu", at_once)
    images, backbone = images_for(run, 2), run.model.backbone
    found = window_embeddings(backbone, backbone.embed_image(images), side)
    steps = backbone.grid - side + 1
    assert found.shape == (2, steps**2, backbone.embedding_width)
    for image in range(2):
        for place in range(steps**2):
            expected = naive(backbone, images[image], *divmod(place, steps), side)
            assert_close(found[image, place], expected, atol=1e-5)


@torch.no_grad()
def test_an_images_embeddings_do_not_depend_on_the_others_to_the_last_bit(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(windows._TOKENS, "cpu", 50)
    backbone = run.model.backbone
    embedded = backbone.embed_image(images_for(run, 3))
    others = torch.cat([embedded[:1], -embedded[1:]])
    assert torch.equal(window_embeddings(backbone, embedded, 2)[0], window_embeddings(backbone, others, 2)[0])


def test_patches_of_a_window_go_row_by_row() -> None:
    assert window_patches(3, 2).tolist() == [[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]


@pytest.mark.parametrize("side", [0, 5])
def test_a_window_that_does_not_fit_the_grid_is_refused(side: int) -> None:
    with pytest.raises(UserError, match=f"a window of {side} x {side} patches does not fit a grid of 4 x 4") as caught:
        window_patches(4, side)
    assert caught.value.where == "head"


def test_it_is_refused_before_anything_runs(small_experiment: Path) -> None:
    experiment = load(small_experiment, discover(), ["head.use=win_clip", "head.scales=[2, 5]"])
    with pytest.raises(UserError, match="a window of 5 x 5 patches does not fit a grid of 4 x 4"):
        assemble(experiment)


@torch.no_grad()
def test_a_read_gives_them_by_side_beside_levels_and_class_embedding(run: Run) -> None:
    images, model = images_for(run, 2), run.model
    plain = Reads(class_token="normed", projected=True)
    found = model.image.untouched(images, Reads(class_token="normed", projected=True, windows=(2, 3)), (4,))
    expected = model.image.untouched(images, plain, (4,))
    assert found.windows is not None and list(found.windows) == [2, 3] and expected.windows is None
    for side, embeddings in found.windows.items():
        alone = window_embeddings(model.backbone, model.backbone.embed_image(images), side)
        assert_close(embeddings, alone)
    assert torch.equal(found.levels[4], expected.levels[4])
    assert found.class_embedding is not None and expected.class_embedding is not None
    assert torch.equal(found.class_embedding, expected.class_embedding)
