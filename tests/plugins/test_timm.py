from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from aaclip_kit_plugins.timm_vit import TimmOptions, register_backbones
from aaclip_kit_plugins.timm_vit.backbone import TimmBackbone
from torch import Tensor

from aaclip_kit import Reads, Surgery, UserError
from aaclip_kit.data.loader import Pixels
from aaclip_kit.evaluation.patch_distance import PatchDistance
from aaclip_kit.model.image_tower import ImageSide
from aaclip_kit.model.stage_slots import StageSlots
from aaclip_kit.model.windows import window_embeddings

from ..helpers import assert_close
from .registered import registered
from .tiny_vits import SIDES, drawn, weights_file

NAMES = list(SIDES)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vits")
    return {name: weights_file(name, folder) for name in NAMES}


def build(model: str, pretrained: Path | str = "none", **options: Any) -> TimmBackbone:
    factory, schema = registered(register_backbones)["timm"]
    backbone: TimmBackbone = factory(schema(model=model, pretrained=str(pretrained), **options))
    return backbone


def images(side: int, count: int = 3) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def walk(backbone: TimmBackbone, pixels: Tensor, surgery: Surgery = "none") -> list[Tensor]:
    """The tokens after each block."""
    tokens, after = backbone.embed_image(pixels), []
    for index in range(backbone.vision.depth):
        tokens = backbone.vision_block(index, tokens, surgery if index >= backbone.surgery_start else "none")
        after.append(tokens)
    return after


@pytest.mark.parametrize("name", NAMES)
def test_sizes_come_from_the_model(name: str) -> None:
    backbone = build(name)
    assert (backbone.vision.width, backbone.vision.depth, backbone.vision.heads) == (48, 4, 3)
    assert (backbone.text, backbone.context_length) == (None, 0)
    assert (backbone.embedding_width, backbone.image_size, backbone.grid) == (48, SIDES[name], 5)
    assert backbone.prefix_tokens == (1 if name == "tiny_dinov2" else 5)
    assert (backbone.image_mean, backbone.image_std) == ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    assert backbone.surgery_start == 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("patches", [5, 3, 8])
def test_the_walk_equals_timms_own(files: dict[str, Path], name: str, patches: int) -> None:
    side = SIDES[name] // 5 * patches
    model = drawn(name)
    model.set_input_size(img_size=(side, side))
    backbone, pixels = build(name, files[name], image_size=side), images(side)
    after = walk(backbone, pixels)
    last, each = model.forward_intermediates(pixels, return_prefix_tokens=True, output_fmt="NLC")
    for found, (expected_patches, expected_prefix) in zip(after, each, strict=True):
        assert_close(found, torch.cat([expected_prefix, expected_patches], dim=1))
    assert_close(backbone.finish_vision(after[-1]), last)
    assert_close(last, model.forward_features(pixels))
    assert backbone.project_image(last) is last


def naive_values(block: Any, tokens: Tensor) -> Tensor:
    """V-V attention of one sequence `[L, D]`, head by head with an explicit softmax."""
    layer, width = block.attn, 16
    bias = layer.qkv.bias[-48:] if layer.qkv.bias is not None else getattr(layer, "v_bias", None)
    values = tokens @ layer.qkv.weight[-48:].T + (0 if bias is None else bias)
    heads = values.split(width, dim=-1)
    joined = torch.cat([(head @ head.T / math.sqrt(width)).softmax(-1) @ head for head in heads], dim=-1)
    out: Tensor = layer.proj(joined)
    return out


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("surgery", ["tokens", "batch"])
def test_surgery_equals_the_naive_formula(files: dict[str, Path], name: str, surgery: Surgery) -> None:
    backbone = build(name, files[name], surgery_blocks=2)
    assert backbone.surgery_start == 2
    tokens, block = backbone.embed_image(images(SIDES[name])), backbone.vit.blocks[3]
    normed = block.norm1(tokens)
    if surgery == "tokens":
        update = torch.stack([naive_values(block, one) for one in normed])
    else:
        update = torch.stack([naive_values(block, normed[:, place]) for place in range(tokens.shape[1])], dim=1)
    one, two = (block.ls1.gamma, block.ls2.gamma) if hasattr(block, "ls1") else (block.gamma_1, block.gamma_2)
    expected = tokens + one * update
    expected = expected + two * block.mlp(block.norm2(expected))
    # The drawn weights make tokens of a size of ten, and so larger roundings.
    assert_close(backbone.vision_block(3, tokens, surgery), expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_what_rules_compare_are_the_normed_patches_of_the_last_block(files: dict[str, Path], name: str) -> None:
    backbone, pixels = build(name, files[name]), images(SIDES[name])
    assert_close(backbone.rule_features(pixels), drawn(name).forward_features(pixels)[:, backbone.prefix_tokens :])


def test_a_rule_that_needs_no_text_runs_on_it(files: dict[str, Path]) -> None:
    backbone = build("tiny_dinov3", files["tiny_dinov3"])
    pixels = Pixels(backbone.image_size, backbone.image_mean, backbone.image_std)
    maps = PatchDistance(backbone, torch.device("cpu"), pixels, batch_size=2).maps(images(40))
    assert maps.shape == (3, 40, 40) and (maps > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_trains_but_gradients_pass_through(files: dict[str, Path], name: str) -> None:
    backbone = build(name, files[name], surgery_blocks=2)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    pixels = images(SIDES[name]).requires_grad_()
    walk(backbone, pixels, "tokens")[-1].square().sum().backward()
    assert pixels.grad is not None and pixels.grad.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_autocast_keeps_the_stream_in_single_precision(files: dict[str, Path], name: str) -> None:
    backbone, pixels = build(name, files[name], surgery_blocks=2), images(SIDES[name])
    exact = walk(backbone, pixels, "tokens")
    with torch.autocast("cpu", torch.bfloat16):
        rough = walk(backbone, pixels, "tokens")
    for one, other in zip(rough, exact, strict=True):
        assert one.dtype == torch.float32
        # bfloat16 has three digits; the errors of four blocks add up.
        assert (one - other).abs().max() < 0.05 * other.abs().max()


def test_random_weights_are_always_the_same_and_leave_the_random_stream_alone() -> None:
    first = build("tiny_dinov2")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = build("tiny_dinov2")
    assert torch.equal(torch.rand(3), expected)
    for name, value in again.state_dict().items():
        assert torch.equal(value, first.state_dict()[name]), name


@pytest.mark.parametrize(
    ("name", "side", "near"),
    [("tiny_dinov2", 100, "98 and 112"), ("tiny_dinov3", 43, "40 and 48"), ("tiny_dinov2", 9, "size is 14")],
)
def test_an_image_size_must_be_whole_patches(name: str, side: int, near: str) -> None:
    with pytest.raises(UserError, match=f"{side} pixels are not a whole number of patches of") as caught:
        build(name, image_size=side)
    assert caught.value.where == "backbone.image_size" and str(caught.value.fix).endswith(near)
    with pytest.raises(UserError, match="patches of"):
        build(name, image_size=112 * 32)


def test_more_surgery_blocks_than_blocks() -> None:
    with pytest.raises(UserError, match="5 blocks of surgery in a tower of 4"):
        build("tiny_dinov2", surgery_blocks=5)


def test_an_unknown_model_is_told_with_the_nearest_names() -> None:
    with pytest.raises(UserError, match='has no model "vit_smal_patch14_dinov2"') as caught:
        build("vit_smal_patch14_dinov2")
    assert "vit_small_patch14_dinov2" in str(caught.value.fix)
    with pytest.raises(UserError, match='has no model "zzzz"') as caught:
        build("zzzz")
    assert "vit_small_patch16_dinov3" in str(caught.value.fix)
    with pytest.raises(UserError, match='vit_small_patch14_dinov2 has no weights "lvd"') as caught:
        build("vit_small_patch14_dinov2.lvd")
    assert caught.value.fix == "names with weights: vit_small_patch14_dinov2.lvd142m"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_resnet", "it is a ResNet, where VisionTransformer"),
        ("test_vit2", "it has no class token"),
        ("tiny_parallel", "its blocks are of another kind"),
        ("eva02_tiny_patch14_224", "it has no norm after its last block"),
        ("vit_small_patch16_rope_mixed_224", "each of its blocks turns positions in its own way"),
        ("vit_tiny_r_s16_p8_224", "its patches come from a network of their own"),
    ],
)
def test_models_that_cannot_be_walked_are_refused(name: str, said: str) -> None:
    with pytest.raises(UserError, match=f"{name} cannot be walked block by block: {said}") as caught:
        build(name)
    assert caught.value.where == "backbone.model" and "dinov" in str(caught.value.fix)


def test_another_plain_vision_transformer_of_timms_is_walked_too() -> None:
    backbone, pixels = build("test_vit", image_size=64), images(64, count=1)
    with torch.no_grad():
        expected = backbone.vit.forward_features(pixels)
    assert (backbone.prefix_tokens, backbone.grid) == (1, 4)
    assert_close(backbone.finish_vision(walk(backbone, pixels)[-1]), expected)


@pytest.mark.parametrize("name", ["tiny_dinov2_reg", "tiny_dinov3"])
@torch.no_grad()
def test_heads_see_patches_alone_and_the_class_token(name: str) -> None:
    backbone, pixels = build(name), images(SIDES[name])
    found = ImageSide(backbone, StageSlots(), (2, 4), "tokens").read(pixels, Reads(class_token="normed"), (2, 4))
    after = [backbone.finish_vision(tokens) for tokens in walk(backbone, pixels)]
    for level in (2, 4):
        assert_close(found.levels[level], after[level - 1][:, 5:])
    assert_close(found.class_embedding, after[-1][:, 0])


@torch.no_grad()
def test_windows_keep_the_registers() -> None:
    backbone, pixels = build("tiny_dinov2_reg"), images(70)
    embedded = backbone.embed_image(pixels)
    found = window_embeddings(backbone, embedded, 3)
    tokens = embedded[:, [0, 1, 2, 3, 4, *(5 + place for place in (6, 7, 8, 11, 12, 13, 16, 17, 18))]]
    for index in range(backbone.vision.depth):
        tokens = backbone.vision_block(index, tokens)
    assert found.shape == (3, 9, 48)
    assert_close(found[:, 4], backbone.finish_vision(tokens)[:, 0], atol=1e-5)


def test_windows_of_a_model_that_turns_patches_by_their_places_are_refused() -> None:
    backbone = build("tiny_dinov3")
    with pytest.raises(UserError, match="windows have none") as caught:
        window_embeddings(backbone, backbone.embed_image(images(40)), 3)
    assert caught.value.where == "backbone.model"


@torch.no_grad()
def test_tokens_that_a_stage_inserts_behind_the_patches_are_not_turned() -> None:
    backbone = build("tiny_dinov3")
    tokens = backbone.embed_image(images(40))
    more = torch.randn(3, 2, 48, generator=torch.Generator().manual_seed(4))
    found = backbone.vision_block(1, torch.cat([tokens, more], dim=1))
    backbone.vit.blocks[1].attn.num_prefix_tokens = 7
    expected = backbone.vit.blocks[1](torch.cat([more, tokens], dim=1), rope=backbone.rope)
    assert_close(found, torch.cat([expected[:, 2:], expected[:, :2]], dim=1), atol=1e-5)


@pytest.mark.parametrize(
    "method", ["tokenize", "end_of_text", "embed_text", "text_positions", "text_block", "finish_text", "project_text"]
)
def test_every_method_of_text_says_that_there_is_none(method: str) -> None:
    given: dict[str, tuple[Any, ...]] = {
        "tokenize": (["wood"],),
        "text_positions": (3,),
        "text_block": (0, torch.zeros(1, 2, 3)),
        "finish_text": (torch.zeros(1, 2, 3), torch.zeros(1, dtype=torch.long)),
        "project_text": (torch.zeros(1, 3),),
    }
    with pytest.raises(UserError, match="this backbone has no text tower") as caught:
        getattr(build("tiny_dinov2"), method)(*given.get(method, (torch.zeros(1, 2, dtype=torch.long),)))
    assert caught.value.where == "backbone" and "open_clip" in str(caught.value.fix)


def test_the_models_by_which_its_option_is_explained_are_timms() -> None:
    said = str(TimmOptions.model_fields["model"].description)
    for name in ("vit_small_patch14_dinov2.lvd142m", "vit_small_patch16_dinov3.lvd1689m"):
        assert name in said and name in timm.list_pretrained()
