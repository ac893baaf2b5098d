"""What a head can read of the vision tower: both forms of surgery, where it starts, tokens raw or normed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone
from torch import Tensor

from aaclip_kit import Backbone, Reads, UserError
from aaclip_kit.model.image_tower import parts_of, tokens_of
from aaclip_kit.run.assemble import Run

from ..build import build, images_for
from ..helpers import assert_close


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment)


def blocks_of(run: Run) -> Any:
    backbone = run.model.backbone
    assert isinstance(backbone, OpenClipBackbone)
    return backbone.clip.visual.transformer.resblocks


def naive_update(block: Any, tokens: Tensor) -> Tensor:
    """What V-V attention adds, token by token and head by head, from the weights."""
    layer, normed = block.attn, block.ln_1(tokens)
    values = (normed @ layer.in_proj_weight.chunk(3)[2].T + layer.in_proj_bias.chunk(3)[2]).chunk(layer.num_heads, -1)
    heads = [(of @ of.transpose(-1, -2) / of.shape[-1] ** 0.5).softmax(dim=-1) @ of for of in values]
    return torch.cat(heads, dim=-1) @ layer.out_proj.weight.T + layer.out_proj.bias


def naive_beside(run: Run, images: Tensor, level: int, start: int) -> Tensor:
    """The second stream, which adds the V-V attention of the plain stream's tokens block by block, without MLP."""
    backbone = run.model.backbone
    plain = second = backbone.embed_image(images)
    for index in range(level):
        if index >= start:
            second = second + naive_update(blocks_of(run)[index], plain)
        plain = backbone.vision_block(index, plain)
        second = plain if index < start else second
    return second


@pytest.mark.parametrize("start", [0, 3, 8])
@torch.no_grad()
def test_surgery_beside_the_blocks_is_a_second_stream(run: Run, start: int) -> None:
    images, model = images_for(run, 2), run.model
    reads = Reads(surgery="beside", surgery_start=start, class_token="normed")
    found = model.image.untouched(images, reads, model.levels)
    for level, patches in found.levels.items():
        expected = model.backbone.finish_vision(naive_beside(run, images, level, start))[:, 1:]
        assert_close(patches, expected, atol=1e-5)
    plain = model.image.untouched(images, Reads(class_token="normed"), model.levels)
    assert found.class_embedding is not None and plain.class_embedding is not None
    assert_close(found.class_embedding, plain.class_embedding, atol=1e-5)


@torch.no_grad()
def test_values_in_place_of_the_blocks_own_attention_start_where_the_head_says(run: Run) -> None:
    images, backbone = images_for(run, 2), run.model.backbone
    found = run.model.image.untouched(images, Reads(surgery="values", surgery_start=5), (4, 8)).levels
    x = backbone.embed_image(images)
    for index in range(8):
        x = backbone.vision_block(index, x, "tokens" if index >= 5 else "none")
        if index + 1 in found:
            assert_close(found[index + 1], backbone.finish_vision(x)[:, 1:], atol=1e-5)
    own = run.model.image.untouched(images, Reads(surgery="values"), (8,)).levels[8]
    assert backbone.surgery_start == 2 and (own - found[8]).abs().max() > 1e-3


@torch.no_grad()
def test_tokens_come_raw_or_normed_and_projected(run: Run) -> None:
    images, backbone = images_for(run, 2), run.model.backbone
    x = backbone.embed_image(images)
    for index in range(8):
        x = backbone.vision_block(index, x)

    def read(**changes: Any) -> Any:
        return run.model.image.untouched(images, Reads(**changes), (8,))

    normed = backbone.finish_vision(x)
    assert_close(read(normed=False).levels[8], x[:, 1:])
    assert_close(read().levels[8], normed[:, 1:])
    assert_close(read(projected=True).levels[8], backbone.project_image(normed[:, 1:]))
    assert_close(read(class_token="raw").class_embedding, backbone.project_image(x[:, 0]))
    assert_close(read(class_token="normed").class_embedding, backbone.project_image(normed[:, 0]))
    assert read().class_embedding is None


def test_tokens_taken_apart_are_put_together_again(run: Run) -> None:
    reads = Reads(class_token="raw", windows=(2,), normed=False)
    read = run.model.image.untouched(images_for(run, 2), reads, (4, 8))
    again = tokens_of(parts_of(read), (4, 8))
    assert all(torch.equal(again.levels[level], of) for level, of in read.levels.items())
    assert read.windows is not None and again.windows is not None and read.class_embedding is not None
    assert torch.equal(again.windows[2], read.windows[2])
    assert again.class_embedding is not None and torch.equal(again.class_embedding, read.class_embedding)


def test_a_backbone_without_it_says_so(run: Run) -> None:
    with pytest.raises(UserError, match="offers no V-V attention beside its blocks"):
        Backbone.value_attention(run.model.backbone, 0, torch.zeros(1, 17, 32))
