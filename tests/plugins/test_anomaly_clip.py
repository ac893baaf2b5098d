"""AnomalyCLIP's prompts and head on the tiny model: against naive forms, what each option does, and bad input."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.anomaly_clip import AnomalyClipOptions, LearntOptions
from aaclip_kit_plugins.anomaly_clip.prompts import Learnt
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional

from aaclip_kit import ImageFeatures, UserError
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble, build_phase, open_feature_store
from aaclip_kit.training.loop_plans import plan_ahead
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import images_for
from ..helpers import assert_close, gradient_of

FILE = """
name = "small_anomaly_clip"
seed = 3
device = "cpu"
[backbone]
use = "open_clip"
model = "{model}"
pretrained = "none"
[prompts]
use = "learnt"
[head]
use = "anomaly_clip"
[losses.text.maps]
use = "segmentation"
weight = 4.0
[losses.text.image]
use = "image_cross_entropy"
[evaluation]
image_score = "detection"
[scheduler]
use = "single"
train = "text"
epochs = 3
batch = 4
[augmentation]
geometry = 0.0
[data.train]
use = "folder"
root = "{data}"
classes = ["red_cloth"]
[data.test]
use = "folder"
root = "{data}"
classes = ["green_wood"]
"""


@pytest.fixture
def file(tmp_path: Path, tiny_clip: Path, defects: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(FILE.format(model=tiny_clip, data=defects))
    return path


def build(file: Path, *overrides: str, large: bool = True) -> Any:
    """The file's run, with learnt tokens so `large` that each has a share in the features."""
    run: Any = assemble(load(file, discover(), overrides))
    for parameter in run.model.prompts.parameters():
        parameter.data.mul_(30.0 if large else 1.0)
    return run


def naive_feature(run: Any, prompt: str, learnt: Tensor) -> Tensor:
    """One prompt over all 77 places, token by token, with open_clip's own modules."""
    clip, prompts = run.model.backbone.clip, run.model.prompts
    numbers = run.model.backbone.tokenize([prompt])[0]
    x = clip.token_embedding(numbers).clone()
    x[1 : 1 + len(learnt)] = learnt
    x = x + clip.positional_embedding
    for block, layer in enumerate(clip.transformer.resblocks):
        if 1 <= block <= len(prompts.deep):
            deep = prompts.deep[block - 1]
            deep = deep.half().float() if prompts.options.deep_rounding == "half" else deep
            x[1 : 1 + len(deep)] = deep
        x = layer(x[None], attn_mask=clip.attn_mask)[0].clone()
    end = numbers.tolist().index(int(numbers.max()))
    return functional.normalize(clip.ln_final(x[end]) @ clip.text_projection, dim=0)


def naive_text(run: Any, name: str = "object") -> Tensor:
    """`[E, 2]`."""
    prompts, options = run.model.prompts, run.model.prompts.options
    marks = "X " * options.tokens
    pairs = ((options.normal, prompts.normal), (options.abnormal, prompts.abnormal))
    return torch.stack([naive_feature(run, marks + text.replace("{}", name), of[0, 0]) for text, of in pairs], -1)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["prompts.tokens=3", "prompts.deep_tokens=3"],
        ["prompts.depth=1"],
        ["prompts.depth=4", "prompts.deep_tokens=1", "prompts.deep_rounding=half"],
        ["prompts.normal='{} in order'", "prompts.abnormal='{} that is broken in two.'"],
    ],
)
@torch.no_grad()
def test_text_features_equal_the_naive_walk_over_all_places(file: Path, overrides: list[str]) -> None:
    run = build(file, *overrides)
    assert_close(run.model.text_features(("red_cloth",), None)[0], naive_text(run))


@torch.no_grad()
def test_all_classes_share_one_pair_of_prompts_or_each_has_its_name_in_its_own(file: Path) -> None:
    walked: list[int] = []
    for kind, names, pairs in (("object", ("object",) * 2, 1), ("class", ("green wood", "red cloth"), 2)):
        run = build(file, f"prompts.name={kind}")
        inner = run.model.backbone.embed_text

        def counted(tokens: Tensor, inner: Any = inner) -> Tensor:
            walked.append(len(tokens))
            return inner(tokens)

        run.model.backbone.embed_text = counted
        found = run.model.text_features(("green_wood", "red_cloth", "green_wood"), None)
        assert walked.pop() == 2 * pairs
        assert_close(found, torch.stack([naive_text(run, name) for name in (*names, names[0])]))


@torch.no_grad()
def test_every_learnt_tensor_acts_and_gets_a_gradient(file: Path) -> None:
    run = build(file)
    with torch.enable_grad():
        prompts = run.model.prompts.requires_grad_(True)
        run.model.text_features(("red_cloth",), None)[..., 1].sum().backward()
    gradients = {name: float(gradient_of(one).norm()) for name, one in prompts.named_parameters()}
    assert gradients.pop("normal") == 0, "the abnormal feature is not made of the normal tokens"
    assert gradients.keys() == {"abnormal", "deep.0", "deep.1"} and min(gradients.values()) > 1e-5
    assert run.model.trained_parameters("text").keys() == {f"prompts.{name}" for name in ("normal", *gradients)}
    assert not run.model.trained_parameters("vision")


def test_first_weights_are_normal_with_the_published_spread_and_drawn_one_by_one(file: Path) -> None:
    one, other = (build(file, f"prompts.depth={depth}", large=False).model.prompts for depth in (2, 4))
    assert torch.equal(one.normal, other.normal) and torch.equal(one.deep[0], other.deep[0])
    assert not torch.equal(one.normal, one.abnormal)
    values = torch.cat([parameter.flatten() for parameter in other.parameters()])
    assert values.std().item() == pytest.approx(0.02, rel=0.1) and abs(values.mean().item()) < 0.002


def test_half_rounds_deep_tokens_and_the_gradient_of_each_prompts_copy(file: Path) -> None:
    prompts = build(file, "prompts.deep_rounding=half").model.prompts.requires_grad_(True)
    tokens = torch.zeros(2, 16, 16)
    found = prompts.before_block(1, tokens, None)
    assert_close(found[0, 1:5], prompts.deep[0].half().float(), rtol=0, atol=0)
    assert not torch.equal(found[0, 1:5], prompts.deep[0])
    # 2e-8 underflows in each copy; twice that, which is the sum, would not.
    (found * torch.full_like(found, 2e-8)).sum().backward()
    assert not gradient_of(prompts.deep[0]).any()
    with torch.no_grad():
        prompts.deep[0].grad = None
    exact = build(file).model.prompts.requires_grad_(True)
    (exact.before_block(1, tokens, None) * 2e-8).sum().backward()
    assert_close(gradient_of(exact.deep[0]), torch.full((4, 16), 4e-8), atol=0)


def naive_streams(run: Any, images: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """The V-V stream of each level with its class token, and the plain tokens, one head after the other."""
    visual, start = run.model.backbone.clip.visual, run.model.backbone.surgery_start
    plain, levels = run.model.backbone.embed_image(images), {}
    second = plain
    for block, layer in enumerate(visual.transformer.resblocks):
        if block >= start:
            attention, normed = layer.attn, layer.ln_1(plain)
            width = attention.embed_dim
            values = functional.linear(
                normed, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :]
            )
            heads = []
            for value in values.chunk(attention.num_heads, dim=-1):
                weights = (value @ value.transpose(1, 2) / value.shape[-1] ** 0.5).softmax(dim=-1)
                heads.append(weights @ value)
            second = second + attention.out_proj(torch.cat(heads, dim=-1))
        plain = layer(plain)
        second = plain if block < start else second
        levels[block + 1] = second
    return levels, plain


@pytest.mark.parametrize("token", ["normed", "raw"])
@torch.no_grad()
def test_patches_go_beside_the_blocks_and_the_class_token_through_them(file: Path, token: str) -> None:
    run = build(file, f"head.class_token={token}", "backbone.surgery_blocks=5", "model.levels=[2, 5, 8]")
    images, visual = images_for(run, 2), run.model.backbone.clip.visual
    levels, plain = naive_streams(run, images)
    found = run.model.image_features(images, ("red_cloth",) * 2, attention=False)
    for level, patches in found.levels.items():
        projected = visual.ln_post(levels[level][:, 1:]) @ visual.proj
        assert_close(patches, functional.normalize(projected, dim=-1))
    last = plain[:, 0] if token == "raw" else visual.ln_post(plain[:, 0])
    assert_close(found.detection, functional.normalize(last @ visual.proj, dim=-1))


def features_of(run: Any) -> tuple[ImageFeatures, Tensor]:
    """Features of two images, and their text features."""
    classes = ("red_cloth", "green_wood")
    image = run.model.image_features(images_for(run, 2), classes, attention=False)
    return image, run.model.text_features(classes, None)


@pytest.mark.parametrize("sigma", [1.0, 4.0])
@torch.no_grad()
def test_maps_and_image_scores_equal_the_formula(file: Path, sigma: float) -> None:
    run = build(file, "model.levels=[4, 8]", f"head.sigma={sigma}", "head.temperature=0.2")
    image, text = features_of(run)
    found = run.model.head.level_probabilities(image, text, 32)
    total = torch.zeros(2, 32, 32)
    for level, patches in image.levels.items():
        grid = (patches @ text / 0.2).softmax(dim=-1).transpose(1, 2).unflatten(2, (4, 4))
        expected = functional.interpolate(grid, size=32, mode="bilinear", align_corners=False)
        assert_close(found[level], expected)
        total += (expected[:, 1] + 1 - expected[:, 0]) / 2
    plain, smooth = (run.model.head.score(image, text, 32, "industrial", smooth) for smooth in (False, True))
    assert_close(plain.maps, total)
    # Four sigmas are half of the image, or more: the border is mirrored with its edge.
    assert_close(smooth.maps, np.stack([gaussian_filter(one.numpy(), sigma) for one in total]), atol=1e-5)
    cosines = torch.einsum("be,bek->bk", image.detection, text)
    assert_close(smooth.detection, (cosines / 0.2).softmax(dim=1)[:, 1])
    assert_close(run.model.head.detection_logits(image, text), cosines / 0.2)
    assert run.model.head.shown == (0.0, 2.0)
    assert_close(run.model.head.map_probability(plain.maps), total / 2)


def test_a_text_phase_learns_and_decodes_nothing_after_its_first_epoch(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = build(file, "model.levels=[8]", large=False)
    seen: list[int] = []
    inner = run.model.backbone.embed_image

    def counted(images: Tensor) -> Tensor:
        seen.append(len(images))
        return inner(images)

    monkeypatch.setattr(run.model.backbone, "embed_image", counted)
    before = {name: one.clone() for name, one in run.model.trained_parameters("text").items()}
    (phase_plan,) = plan_ahead(run.scheduler)[0].phases
    phase, steps, decoded = build_phase(run, phase_plan, 1, 0, frozenset(), open_feature_store(run)), [], []

    def report(step: Step) -> None:
        steps.append(step)
        decoded.append(len(seen))

    train_phase(phase, StepCallback(report))
    assert len(steps) == 6 and decoded[1:] == [decoded[1]] * 5
    assert steps[-1].loss < steps[0].loss
    assert {name for step in steps for name in step.terms} == {
        *(f"maps/level_8_{term}" for term in ("focal", "dice_normal", "dice_abnormal")), "image/image_cross_entropy",
    }  # fmt: skip
    after = run.model.trained_parameters("text")
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_published_checkpoints_have_these_keys_and_no_others(file: Path) -> None:
    prompts = build(file).model.prompts
    assert isinstance(prompts, Learnt)
    names = prompts.published_names()
    assert names.keys() == dict(prompts.named_parameters()).keys()
    deep = [f"compound_prompts_text.{place}" for place in range(2)]
    assert set(names.values()) == {f"prompt_learner.{key}" for key in ("ctx_pos", "ctx_neg", *deep)}
    dead = [f"compound_prompt_projections.{place}.{kind}" for place in range(2) for kind in ("weight", "bias")]
    dead += [
        f"{what}_{state}" for what in ("token_prefix", "token_suffix", "tokenized_prompts") for state in ("pos", "neg")
    ]
    for key, unused in [*((key, False) for key in names.values()), *((f"prompt_learner.{key}", True) for key in dead)]:
        assert any(fnmatch(key, pattern) for pattern in prompts.published_unused) == unused, key
    assert build(file, "prompts.name=class").model.prompts.published_names() == {}


@pytest.mark.parametrize(
    ("override", "where", "said", "fix"),
    [
        ("prompts.depth=5", "prompts.depth", "5 text blocks of learnt tokens, where the tower has 4", "choose 1 to 4"),
        ("prompts.tokens=73", "prompts.tokens", "73 learnt tokens and the words behind them exceed 77", "fewer"),
    ],
)
def test_prompts_that_do_not_fit_the_text_tower_are_refused(
    file: Path, override: str, where: str, said: str, fix: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(file, override)
    assert caught.value.where == where and said in caught.value.problem and fix in str(caught.value.fix)


def test_a_class_name_that_does_not_fit_behind_the_learnt_tokens_is_refused(file: Path) -> None:
    name = "data.train.real_names.red_cloth='" + "r " * 70 + "'"
    with pytest.raises(UserError, match="tokens; the model reads 75") as caught:
        build(file, "prompts.name=class", name)
    assert caught.value.where == "real_names.red_cloth"
    assert build(file, name).model.text is not None, "the object's prompts do not hold the name"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"deep_tokens": 13}, "deep_tokens = 13 is more than the 12 tokens"),
        ({"normal": "object."}, "needs {} once"),
        ({"abnormal": "{} {}"}, "needs {} once"),
    ],
)
def test_options_of_the_prompts_that_cannot_be_say_why(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LearntOptions(**options)


def test_the_head_takes_no_temperature_and_no_blur_of_nothing() -> None:
    for key in ("temperature", "sigma"):
        with pytest.raises(ValueError, match="greater than 0"):
            AnomalyClipOptions(**{key: 0.0})
