from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.open_clip import OpenClipOptions, register_backbones, source
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone
from aaclip_kit_plugins.open_clip.source import find_source
from torch import Tensor

from aaclip_kit import Surgery, UserError
from aaclip_kit.model.prompts import PromptBook

from ..helpers import assert_close
from ..parts import TinyPrompts
from .registered import registered


def build(model: Path | str, **options: Any) -> OpenClipBackbone:
    factory, schema = registered(register_backbones)["open_clip"]
    backbone: OpenClipBackbone = factory(schema(model=str(model), **{"pretrained": "none", **options}))
    return backbone


@pytest.fixture(scope="module")
def backbone(tiny_clip: Path) -> OpenClipBackbone:
    return build(tiny_clip)


def images(count: int = 3, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def walk_vision(backbone: OpenClipBackbone, pixels: Tensor, surgery: Surgery = "none") -> Tensor:
    tokens = backbone.embed_image(pixels)
    for index in range(backbone.vision.depth):
        tokens = backbone.vision_block(index, tokens, surgery if index >= backbone.surgery_start else "none")
    return backbone.finish_vision(tokens)


def test_sizes_come_from_the_model(backbone: OpenClipBackbone) -> None:
    assert (backbone.vision.width, backbone.vision.depth, backbone.vision.heads) == (32, 8, 4)
    assert (backbone.text.width, backbone.text.depth, backbone.text.heads) == (16, 4, 2)
    assert (backbone.embedding_width, backbone.image_size, backbone.grid, backbone.context_length) == (24, 32, 4, 77)
    assert (backbone.image_mean, backbone.image_std) == ((0.5,) * 3, (0.25,) * 3)
    assert backbone.surgery_start == 8 - 6


def test_the_walks_equal_open_clips_own(backbone: OpenClipBackbone) -> None:
    image_feature = backbone.project_image(walk_vision(backbone, images())[:, 0])
    assert_close(image_feature, backbone.clip.encode_image(images()))
    tokens = backbone.tokenize(["a photo of a wooden board.", "wood"])
    stream = backbone.embed_text(tokens)
    for index in range(backbone.text.depth):
        stream = backbone.text_block(index, stream)
    feature = backbone.project_text(backbone.finish_text(stream, backbone.end_of_text(tokens)))
    assert_close(feature, backbone.clip.encode_text(tokens))


def test_a_text_walk_over_fewer_positions_is_the_same(backbone: OpenClipBackbone) -> None:
    tokens = backbone.tokenize(["a photo of a wooden board."])
    end = backbone.end_of_text(tokens)
    short = tokens[:, : int(end) + 1]
    for index in range(2):
        long_stream = backbone.text_block(index, backbone.embed_text(tokens))
        short_stream = backbone.text_block(index, backbone.embed_text(short))
        assert_close(short_stream, long_stream[:, : short.shape[1]])


def naive_values(layer: Any, tokens: Tensor) -> Tensor:
    """V-V attention of one sequence `[L, D]`, head by head with an explicit softmax."""
    width = layer.embed_dim // layer.num_heads
    values = tokens @ layer.in_proj_weight[-layer.embed_dim :].T + layer.in_proj_bias[-layer.embed_dim :]
    heads = values.split(width, dim=-1)
    joined = torch.cat([(head @ head.T / math.sqrt(width)).softmax(-1) @ head for head in heads], dim=-1)
    out: Tensor = layer.out_proj(joined)
    return out


@pytest.mark.parametrize("surgery", ["tokens", "batch"])
def test_surgery_equals_the_naive_formula(backbone: OpenClipBackbone, surgery: Surgery) -> None:
    tokens = backbone.embed_image(images())
    block = backbone.clip.visual.transformer.resblocks[3]
    normed = block.ln_1(tokens)
    if surgery == "tokens":
        update = torch.stack([naive_values(block.attn, one) for one in normed])
    else:
        update = torch.stack([naive_values(block.attn, normed[:, place]) for place in range(17)], dim=1)
    expected = tokens + update
    expected = expected + block.mlp(block.ln_2(expected))
    assert_close(backbone.vision_block(3, tokens, surgery), expected)


def test_only_surgery_across_the_batch_mixes_images(backbone: OpenClipBackbone) -> None:
    for surgery in ("none", "tokens"):
        assert_close(walk_vision(backbone, images(), surgery)[:1], walk_vision(backbone, images()[:1], surgery))
    mixed = walk_vision(backbone, images(), "batch")[:1] - walk_vision(backbone, images()[:1], "batch")
    assert mixed.abs().max() > 1e-2


@pytest.mark.parametrize(("blocks", "start"), [(None, 2), (0, 8), (3, 5), (8, 0)])
def test_surgery_blocks_say_where_surgery_starts(tiny_clip: Path, blocks: int | None, start: int) -> None:
    assert build(tiny_clip, surgery_blocks=blocks).surgery_start == start


def test_nothing_in_it_trains_but_gradients_pass_through(backbone: OpenClipBackbone) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    pixels = images().requires_grad_()
    walk_vision(backbone, pixels, "tokens").square().sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_autocast_keeps_the_stream_in_single_precision(backbone: OpenClipBackbone) -> None:
    exact = walk_vision(backbone, images(), "tokens")
    tokens = backbone.tokenize(["wood"])
    with torch.autocast("cpu", torch.bfloat16):
        rough = walk_vision(backbone, images(), "tokens")
        text = backbone.text_block(0, backbone.embed_text(tokens))
    assert rough.dtype == text.dtype == torch.float32
    # bfloat16 has three digits; the errors of eight blocks add up.
    assert_close(rough, exact, rtol=0.05, atol=0.1)


def test_random_weights_are_always_the_same_and_leave_the_random_stream_alone(
    tiny_clip: Path, backbone: OpenClipBackbone
) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = build(tiny_clip)
    assert torch.equal(torch.rand(3), expected)
    for name, value in again.state_dict().items():
        assert torch.equal(value, backbone.state_dict()[name]), name


def test_activation_is_explicit(tiny_clip: Path, backbone: OpenClipBackbone) -> None:
    plain, quick = build(tiny_clip, activation="gelu"), build(tiny_clip, activation="quick_gelu")
    assert_close(walk_vision(plain, images()), walk_vision(backbone, images()))
    assert (walk_vision(quick, images()) - walk_vision(plain, images())).abs().max() > 1e-3
    hidden = torch.linspace(-3, 3, 7)
    assert_close(quick.clip.transformer.resblocks[0].mlp.gelu(hidden), hidden * torch.sigmoid(1.702 * hidden))


def test_auto_activation_is_what_the_weights_were_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "weights_of_tag", lambda *_: Path("weights.safetensors"))
    file = tmp_path / "weights.safetensors"
    file.write_bytes(b"")

    def quick(model: str, pretrained: str) -> bool | None:
        return find_source(OpenClipOptions(model=model, pretrained=pretrained)).quick_gelu

    assert quick("ViT-L-14-336", "openai") is True
    assert quick("ViT-L-14-336", str(file)) is True
    assert quick("ViT-L-14-336", "none") is True
    assert quick("ViT-B-32", "laion2b-s34b-b79k") is False
    assert quick("ViT-B-32", "openai") is True
    assert quick("ViT-B-32", str(file)) is None
    assert quick("ViT-B-32-quickgelu", str(file)) is True
    with pytest.raises(UserError, match="both activations") as caught:
        build("ViT-B-32", pretrained=str(file))
    assert "backbone.activation" in str(caught.value)


def test_image_size_must_be_whole_patches(tiny_clip: Path) -> None:
    larger = build(tiny_clip, image_size=48)
    assert (larger.image_size, larger.grid) == (48, 6)
    assert walk_vision(larger, images(2, 48)).shape == (2, 37, 32)
    with pytest.raises(UserError, match="45 pixels are not a whole number of patches of 8") as caught:
        build(tiny_clip, image_size=45)
    assert "nearest sizes are 40 and 48" in str(caught.value)
    with pytest.raises(UserError, match="4096 pixels are 262,144 patches of 8") as caught:
        build(tiny_clip, image_size=4096)
    assert "give at most 1024" in str(caught.value)


def test_more_surgery_blocks_than_blocks(tiny_clip: Path) -> None:
    with pytest.raises(UserError, match="9 blocks of surgery in a tower of 8"):
        build(tiny_clip, surgery_blocks=9)


def test_tokens_end_with_zeros(backbone: OpenClipBackbone) -> None:
    tokens = backbone.tokenize(["wood", "a photo of a board"])
    assert tokens.shape == (2, 77)
    assert backbone.end_of_text(tokens).tolist() == [2, 6]
    assert tokens[0, 3:].abs().sum() == 0
    assert tokens[1, 5] != 0


def test_a_prompt_longer_than_the_context_is_named(backbone: OpenClipBackbone) -> None:
    assert backbone.tokenize(["wood " * 75])[0, 76] != 0
    with pytest.raises(UserError, match=r"the prompt .*wood.* has 76 tokens; the model reads 75"):
        backbone.tokenize(["fine", "wood " * 76])


@pytest.mark.parametrize("name", ["a <end_of_text> b", "<start_of_text>", "x &lt;END_OF_TEXT&gt;"])
def test_a_prompt_that_holds_the_sign_of_an_end_is_refused(backbone: OpenClipBackbone, name: str) -> None:
    with pytest.raises(UserError, match="holds the sign of a text's start or end"):
        backbone.tokenize(["fine", name])


def test_a_real_name_has_at_most_200_characters(backbone: OpenClipBackbone) -> None:
    with pytest.raises(UserError, match="class 'c' has a real name of 60,000 characters") as caught:
        PromptBook.of(backbone, TinyPrompts(), {"c": "x" * 60_000})
    assert caught.value.where == "real_names.c"
    assert PromptBook.of(backbone, TinyPrompts(), {"c": "wood " * 40}).lengths


def test_models_that_cannot_be_walked_are_refused() -> None:
    for name in ("RN50", "coca_ViT-B-32", "ViT-B-16-SigLIP", "convnext_base", "roberta-ViT-B-32"):
        with pytest.raises(UserError, match=f"{name} is not a plain vision-transformer CLIP") as caught:
            build(name)
        assert "ViT-L-14-336" in str(caught.value)


def test_an_unknown_model_tag_or_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='no model "ViT-L-14-366"') as caught:
        build("ViT-L-14-366")
    assert "ViT-L-14-336" in str(caught.value)
    with pytest.raises(UserError, match='no model "embeded"') as caught:
        build("embeded")
    assert 'use = "embedded" and no model' in str(caught.value).split("fix:")[1]
    with pytest.raises(UserError, match='no weights "opnai"') as caught:
        build("ViT-L-14-336", pretrained="opnai")
    assert 'did you mean "openai"?' in str(caught.value)
    with pytest.raises(UserError, match="no weights of its own"):
        build("ViT-L-14-336", pretrained="own")
    with pytest.raises(UserError, match="there is no folder"):
        build(tmp_path / "nowhere")
    with pytest.raises(UserError, match="configuration is missing"):
        build(tmp_path)


def test_a_broken_configuration(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").touch()
    os.truncate(tmp_path / "open_clip_config.json", 2**40)
    with pytest.raises(UserError, match=r"no open_clip configuration \(it has more than 1,048,576 bytes\)"):
        build(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{")
    with pytest.raises(UserError, match="no open_clip configuration"):
        build(tmp_path)
    (tmp_path / "open_clip_config.json").write_text('{"model_cfg": {"embed_dim": 8}}')
    with pytest.raises(UserError, match="open_clip cannot build this model"):
        build(tmp_path)
