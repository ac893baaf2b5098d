"""The embedded model: its stem against a naive formula, its sizes, and its file of weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from aaclip_kit_plugins.embedded import WEIGHTS, EmbeddedOptions, backbone, register_backbones
from aaclip_kit_plugins.embedded.backbone import EmbeddedBackbone
from aaclip_kit_plugins.embedded.stem import BLOCKS, CHANNELS, READ, EnlargingConv, Stem, TurnedConv, distances
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from aaclip_kit import UserError, UserErrors
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover

from ..helpers import assert_close
from .registered import registered

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "base.toml"
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3))
"""Of EfficientNet-Lite0, as far as the stem goes: kernel, stride, expansion, channels and blocks of each stage."""


def build(image_size: int = 112, surgery_blocks: int = 0) -> EmbeddedBackbone:
    factory, schema = registered(register_backbones)["embedded"]
    found: EmbeddedBackbone = factory(schema(image_size=image_size, surgery_blocks=surgery_blocks))
    return found


@pytest.fixture(scope="module")
def small() -> EmbeddedBackbone:
    return build(56)


def images(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def walk(model: EmbeddedBackbone, pixels: Tensor) -> Tensor:
    tokens = model.embed_image(pixels)
    for index in range(model.vision.depth):
        tokens = model.vision_block(index, tokens)
    return model.finish_vision(tokens)


def same(x: Tensor, weight: Tensor, bias: Tensor, stride: int, groups: int = 1) -> Tensor:
    """A convolution whose output has ceil(side / stride) places, as TensorFlow pads it."""
    side, kernel = x.shape[-1], weight.shape[-1]
    whole = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    before, after = whole // 2, whole - whole // 2
    return functional.conv2d(functional.pad(x, (before, after, before, after)), weight, bias, stride, groups=groups)


def naive(weights: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """Features `[B, 232, S/8, S/8]`: each stage's blocks as the paper has them, with ReLU6 and without excitation."""

    def pointwise(name: str, x: Tensor) -> Tensor:
        return functional.conv2d(x, weights[f"{name}.weight"][:, :, None, None], weights[f"{name}.bias"])

    def depthwise(name: str, x: Tensor, stride: int) -> Tensor:
        return same(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride, groups=x.shape[1])

    x = functional.interpolate(pixels, size=(2 * pixels.shape[-1],) * 2, mode="bicubic")
    x = same(x, weights["first.weight"], weights["first.bias"], 2).clamp(0, 6)
    index, read = 0, []
    for _, stride, expansion, _, blocks in STAGES:
        for number in range(blocks):
            name, before = f"blocks.{index}", x
            if expansion > 1:
                x = pointwise(f"{name}.expand", x).clamp(0, 6)
            x = depthwise(f"{name}.depthwise", x, stride if number == 0 else 1).clamp(0, 6)
            x = pointwise(f"{name}.project", x)
            x = x + before if number > 0 else x
            if index in (4, 7, 10):
                mean = functional.avg_pool2d(x, x.shape[-1] // (pixels.shape[-1] // 8))
                read.append(mean / mean.square().mean(dim=1, keepdim=True).sqrt())
            index += 1
    return torch.cat(read, dim=1)


def test_the_blocks_are_those_of_efficientnet_lite0() -> None:
    spread = [(k, s if n == 0 else 1, e, c) for k, s, e, c, blocks in STAGES for n in range(blocks)]
    assert list(BLOCKS) == spread and READ == (4, 7, 10) and CHANNELS == 40 + 80 + 112 + 8


@torch.no_grad()
def test_the_last_channels_are_distances_to_the_most_similar_patches_of_the_same_image() -> None:
    torch.manual_seed(0)
    stem, features = Stem(), torch.randn(2, 5, 4, 4)
    found = distances(features)
    for image in range(2):
        patches = functional.normalize(features[image].flatten(1).T, dim=1).double()
        expected = []
        for place in range(16):
            others = sorted(float(patches[place] @ patches[other]) for other in range(16) if other != place)
            expected.append(1 - sum(others[-4:]) / 4)  # 30 % of 15, rounded
        raw = torch.tensor(expected).float()
        assert_close(found[image, 0].flatten(), 8 * raw, rtol=1e-4)
        assert_close(
            found[image, 1].flatten(), (raw - raw.mean()) / (raw.std(correction=0) + 1e-4), rtol=1e-3, atol=1e-4
        )
    whole = stem(images(2, 24))
    assert_close(whole[:, -8:-6], distances(whole[:, :40]), rtol=1e-3, atol=1e-3)
    assert_close(whole[:, -2:], distances(whole[:, :-8]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("side", [24, 56, 64])
@torch.no_grad()
def test_the_stem_is_the_naive_formula(side: int) -> None:
    """At 24 and 56 pixels the later blocks see sides that are odd."""
    torch.manual_seed(0)
    stem = Stem()
    for name, weight in stem.named_parameters():
        # So large that some numbers reach the 6 of ReLU6.
        weight.mul_(3.0 if name.endswith("weight") and "project" not in name else 1.0)
    pixels = images(2, side)
    assert_close(
        stem(pixels)[:, :-8], naive(dict(stem.state_dict()), pixels), rtol=1e-4, atol=1e-5
    )  # 23 layers of sums


@pytest.mark.parametrize("side", [8, 7])
@pytest.mark.parametrize("kernel", [3, 5])
@torch.no_grad()
def test_padding_of_a_turned_picture_is_that_of_tensorflow(side: int, kernel: int) -> None:
    """An odd side too, where the stride is 1; with a stride of 2 every side of the stem is even."""
    pixels = images(1, side)[:, [0, 1, 2, 0]]
    for stride in (1, 2) if side % 2 == 0 else (1,):
        layer = TurnedConv(4, 4, kernel, stride, groups=4)
        assert layer.bias is not None
        found = layer(pixels.flip(2, 3)).flip(2, 3)
        assert_close(found, same(pixels, layer.weight, layer.bias, stride, groups=4))


@pytest.mark.parametrize("side", [5, 8])
@torch.no_grad()
def test_enlarging_and_the_first_convolution_are_one(side: int) -> None:
    layer, pixels = EnlargingConv(3, 4), images(2, side)
    assert layer.bias is not None
    large = functional.interpolate(pixels, scale_factor=2, mode="bicubic")
    assert_close(layer(pixels.flip(2, 3)).flip(2, 3), same(large, layer.weight, layer.bias, 2), rtol=1e-4, atol=1e-6)


def test_sizes_are_those_of_its_configuration(small: EmbeddedBackbone) -> None:
    assert (small.vision.width, small.vision.depth, small.vision.heads) == (128, 4, 4)
    assert (small.text.width, small.text.depth, small.text.heads) == (64, 4, 4)
    assert (small.embedding_width, small.context_length, small.surgery_start) == (96, 77, 4)
    assert build(56, surgery_blocks=3).surgery_start == 1
    with pytest.raises(UserError, match="5 blocks of surgery in a tower of 4"):
        build(56, surgery_blocks=5)


@pytest.mark.parametrize("side", [56, 112, 224])
@torch.no_grad()
def test_images_of_any_whole_number_of_patches_are_walked(side: int) -> None:
    model = build(side)
    assert (model.image_size, model.grid) == (side, side // 8)
    tokens = walk(model, images(1, side))
    assert tokens.shape == (1, 1 + (side // 8) ** 2, 128) and torch.isfinite(tokens).all()


@pytest.mark.parametrize("side", ["60", "0", "1e3", "2048"])
def test_another_size_is_refused_with_what_is_allowed(side: str) -> None:
    with pytest.raises(UserErrors) as caught:
        load(EXPERIMENT, discover(), [f"backbone.image_size={side}"])
    (fault,) = caught.value.faults
    assert str(fault.where).endswith("backbone.image_size") and "image side in pixels" in str(fault.fix)
    assert side != "60" or "a multiple of 8 (given: 60)" in fault.problem


@torch.no_grad()
def test_an_image_has_the_same_features_alone_and_among_others(small: EmbeddedBackbone) -> None:
    """More images than the stem takes at once, and a last part that is smaller."""
    pixels = images(7, 56)
    # Of features whose mean square is 1, rounding is a part of the whole vector, not of a number near zero.
    alone = torch.cat([small.clip.visual.conv1.stem(one[None]) for one in pixels])
    assert_close(small.clip.visual.conv1.stem(pixels), alone, rtol=1e-5, atol=1e-5)
    expected = torch.cat([walk(small, one[None]) for one in pixels])
    for count in (1, 2, 3, 4, 7):
        assert_close(walk(small, pixels[:count]), expected[:count], rtol=1e-5, atol=1e-5)


def test_nothing_in_it_trains_and_building_draws_nothing(small: EmbeddedBackbone) -> None:
    assert not any(parameter.requires_grad for parameter in small.parameters())
    small.train()
    assert not any(module.training for module in small.modules())
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    again = build(56)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in small.state_dict().items())


def test_the_file_is_small_and_in_half_precision() -> None:
    assert WEIGHTS.stat().st_size <= 16 * 2**20
    weights = load_file(WEIGHTS)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    known = build().clip.state_dict()
    assert set(weights) == set(known) - {"attn_mask"}
    walked = set(weights) - {"logit_scale"}
    assert all(torch.equal(known[name], weights[name].float()) for name in walked)


def without(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight for name, weight in weights.items() if name != "ln_final.bias"}


def with_more(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**weights, "visual.more": torch.zeros(3)}


def of_another_width(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**weights, "visual.proj": torch.zeros(128, 95)}


def of_the_first_version(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Eight blocks behind a convolution of the pixels."""
    config = open_clip.get_model_config("ViT-B-32")
    assert config is not None
    vision = {"image_size": 112, "patch_size": 8, "width": 128, "head_width": 32, "layers": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 4}
    first = open_clip.CLIP(96, vision, text)
    return {name: weight.detach().half() for name, weight in first.named_parameters()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without, "ln_final.bias is missing"),
        (with_more, "visual.more is unknown"),
        (of_another_width, "visual.proj is [128, 95] where [128, 96] is needed"),
        (of_the_first_version, "visual.conv1.stem.first.weight is missing"),
    ],
)
def test_weights_of_another_version_are_one_plain_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    said: str,
) -> None:
    file = tmp_path / "embedded.safetensors"
    save_file(change(load_file(WEIGHTS)), file)
    monkeypatch.setattr(backbone, "WEIGHTS", file)
    with pytest.raises(UserError, match="does not fit the model") as caught:
        EmbeddedBackbone(EmbeddedOptions())
    assert said in caught.value.problem and caught.value.where == str(file)
    assert str(caught.value.fix).startswith("restore the file that comes with this version")


def test_a_damaged_or_missing_file_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "embedded.safetensors"
    monkeypatch.setattr(backbone, "WEIGHTS", file)
    for content, said in ((None, "does not exist"), (WEIGHTS.read_bytes()[:5000], "damaged")):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UserError, match=said) as caught:
            EmbeddedBackbone(EmbeddedOptions())
        assert caught.value.where == str(file) and str(caught.value.fix).startswith("restore the file")


def test_as_a_model_of_open_clip_it_is_one_error_that_says_what_to_write() -> None:
    old = ["backbone.use=open_clip", "backbone.model=embedded"]
    with pytest.raises(UserErrors) as caught:
        load(EXPERIMENT, discover(), old)
    (fault,) = caught.value.faults
    assert 'write use = "embedded" and no model' in fault.problem and 'use = "embedded"' in str(fault.fix)
    with pytest.raises(UserErrors) as caught:
        load(EXPERIMENT, discover(), old[:1])
    (fault,) = caught.value.faults
    assert fault.problem == "is missing" and 'use = "embedded"' in str(fault.fix)
