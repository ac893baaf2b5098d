"""AdaCLIP's prompts, stage and head on the tiny backbone, against plain forms, one image at a time."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.ada_clip import PromptOptions
from aaclip_kit_plugins.ada_clip.fusion import fuse, k_means
from scipy.ndimage import gaussian_filter
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional

from aaclip_kit import UserError, text_tower, unit
from aaclip_kit.checkpoints.component_layout import component_state
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble, build_phase, open_feature_store
from aaclip_kit.training.loop_plans import plan_ahead
from aaclip_kit.training.losses import total
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

from ..build import evaluator_of, images_for, move_weights, run_file
from ..helpers import assert_close, gradient_of

EXPERIMENT = """
name = "ada_clip"
seed = 3
[compute]
recompute = "off"
[backbone]
use = "open_clip"
model = "{model}"
pretrained = "none"
[prompts]
use = "ada_clip"
depth = 3
[stages.prompts]
use = "ada_clip"
after = [-1, 0, 2]
length = 4
[head]
use = "ada_clip"
patches = 9
clusters = 4
scale = 20.0
[losses.both.image]
use = "image_focal"
[losses.both.segmentation]
use = "segmentation"
[augmentation]
geometry = 0.0
color = 0.0
[scheduler]
use = "single"
train = "both"
epochs = 2
batch = 1
optimizer = "adamw"
[data.train]
use = "folder"
root = "{data}"
classes = ["red_cloth"]
[data.test]
use = "folder"
root = "{data}"
classes = ["green_wood"]
real_names = {{ green_wood = "green-stained wood" }}
"""

CLASSES = ("red_cloth", "green_wood", "red_cloth")
Build = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path, tiny_clip: Path, defects: Path) -> Path:
    path = tmp_path / "ada_clip.toml"
    path.write_text(EXPERIMENT.format(model=tiny_clip, data=defects))
    return path


@pytest.fixture
def build(file: Path) -> Build:
    """A run with some overrides, and weights that show."""

    def built(*overrides: str) -> Run:
        run = assemble(load(file, discover(), ["device=cpu", *overrides]))
        move_weights(run.model)
        return run

    return built


def embedding_of(run: Any, images: Tensor) -> Tensor:
    """The class embedding of the untouched backbone, block by block."""
    backbone = run.model.backbone
    x = backbone.embed_image(images)
    for block in range(backbone.vision.depth):
        x = backbone.vision_block(block, x)
    return backbone.project_image(backbone.finish_vision(x)[:, 0])


def made(tokens: Any, place: int, z: Tensor) -> Tensor:
    """Prompt tokens of one image: what each layer makes of it, plus the static one."""
    return torch.stack([layer(z) for layer in tokens.dynamic]) + tokens.static[place]


def naive_text(run: Any, name: str, z: Tensor) -> Tensor:
    """The text feature of one image, at the full context length."""
    backbone, prompts = run.model.backbone, run.model.prompts
    words = backbone.tokenize(prompts.prompts(run.data.real_names[name]))
    x = backbone.embed_text(words)
    for block in range(text_tower(backbone).depth):
        if block in (1, 2):
            x = x.clone()
            x[:, 1:6] = made(prompts.tokens, block, z)
        x = backbone.text_block(block, x)
    features = unit(backbone.project_text(backbone.finish_text(x, backbone.end_of_text(words))))
    return unit(torch.stack([features[:28].mean(dim=0), features[28:].mean(dim=0)])).T


def naive_vision(run: Any, image: Tensor, z: Tensor) -> tuple[dict[int, Tensor], Tensor]:
    """Raw patches of each level, and the class embedding, of one image."""
    backbone, tokens = run.model.backbone, run.model.slots.stages["prompts"].tokens
    x, levels = backbone.embed_image(image[None]), {}
    x = torch.cat([x, made(tokens, 0, z)[None]], dim=1)
    for block in range(backbone.vision.depth):
        x = backbone.vision_block(block, x)
        levels[block + 1] = x[0, 1:17]
        if block in (0, 2):
            x = torch.cat([x[:, :17], made(tokens, 1 if block == 0 else 2, z)[None]], dim=1)
    return levels, backbone.project_image(backbone.finish_vision(x)[:, 0])[0]


def naive_features(run: Any, image: Tensor, z: Tensor) -> tuple[list[Tensor], Tensor]:
    """Unit patches of each level, and the unit image feature, of one image."""
    head, (levels, embedding) = run.model.head, naive_vision(run, image, z)
    return [unit(layer(levels[int(level)])) for level, layer in head.patches.items()], unit(head.image(embedding))


def naive_fused(levels: list[Tensor], text: Tensor, patches: int, start: Any) -> Tensor:
    """The mean of the clusters' centres, by scikit-learn, of unit length."""
    abnormal = torch.stack([20 * of @ text for of in levels]).mean(dim=0).softmax(dim=1)[:, 1]
    chosen = abnormal.sort(descending=True).indices[:patches]
    points = torch.cat([of[chosen] for of in levels], dim=1).numpy()
    given: Any = {"init": points[:4]} if start is None else {"random_state": start}
    labels = KMeans(4, n_init=1, **given).fit(points).labels_
    centres = [torch.stack([of[chosen[labels == cluster]] for of in levels]).mean(dim=(0, 1)) for cluster in range(4)]
    return unit(torch.stack(centres).mean(dim=0))


@torch.no_grad()
def predictions(run: Any, images: Tensor, classes: tuple[str, ...] = CLASSES) -> tuple[Any, Tensor, Any]:
    """Features, text features and scores of a batch, by the model."""
    model = run.model
    embedding = embedding_of(run, images)
    features = model.image_features(images, classes, attention=True)
    text = model.text_features(classes, None, embedding=embedding)
    return features, text, model.head.score(features, text, images.shape[-1], "industrial", smooth=True)


def test_prompts_are_states_in_templates_with_a_blank_for_a_hyphen(build: Build) -> None:
    prompts = build().model.prompts
    words = prompts.prompts("green-stained wood")
    assert (len(words), prompts.normal_prompts) == (48, 28)
    assert words[0] == "a bad photo of a green stained wood."
    assert words[5] == "a low resolution photo of the flawless green stained wood."
    assert words[-1] == "a cropped photo of the green stained wood with damage."
    own = ('prompts.normal=["whole {}"]', 'prompts.abnormal=["bent {}"]', 'prompts.templates=["a very nice {} here."]')
    found = build(*own).model.prompts
    assert list(found.prompts("cup")) == ["a very nice whole cup here.", "a very nice bent cup here."]
    assert found.normal_prompts == 1


@torch.no_grad()
def test_every_image_of_a_batch_gets_its_own_text_and_tokens(build: Build) -> None:
    run = build()
    images = images_for(run, 3)
    features, text, scores = predictions(run, images)
    for number, (image, name) in enumerate(zip(images, CLASSES, strict=True)):
        z = embedding_of(run, image[None])[0]
        levels, whole = naive_features(run, image, z)
        expected = naive_text(run, name, z)
        assert_close(text[number], expected, atol=1e-5)
        assert_close(features.detection[number], whole, atol=1e-5)
        for found, patches in zip(features.levels.values(), levels, strict=True):
            assert_close(found[number], patches, atol=1e-5)
        joined = unit(0.2 * naive_fused(levels, expected, 9, None) + 0.8 * whole)
        assert_close(scores.detection[number], (20 * joined @ expected).softmax(dim=0)[1], rtol=1e-4)
        logits = torch.stack([20 * of @ expected for of in levels]).mean(dim=0)
        large = functional.interpolate(logits.T.reshape(1, 2, 4, 4), size=32, mode="bilinear", align_corners=True)
        assert_close(scores.maps[number], gaussian_filter(large.softmax(dim=1)[0, 1].numpy(), 4.0), rtol=1e-4)
    assert not torch.allclose(text[0], text[2]), "two images of one class have texts of their own"


def test_a_levels_map_is_the_softmax_of_that_level_alone(build: Build) -> None:
    run = build()
    features, text, _ = predictions(run, images_for(run, 3))
    maps = run.model.head.level_probabilities(features, text, 32)
    assert list(maps) == list(run.model.levels)
    for level, found in maps.items():
        grid = (20 * features.levels[level] @ text).transpose(1, 2).reshape(3, 2, 4, 4)
        large = functional.interpolate(grid, size=32, mode="bilinear", align_corners=True)
        assert_close(found, large.softmax(dim=1), rtol=1e-4)


def test_the_untouched_backbone_is_scored_by_its_own_projections(build: Build) -> None:
    run = build()
    model, images = run.model, images_for(run, 2)
    backbone, reads = model.backbone, model.untrained_reads
    features = model.head.untrained_features(model.image.untouched(images, reads, model.levels))
    x = backbone.embed_image(images)
    for block in range(backbone.vision.depth):
        x = backbone.vision_block(block, x)
    assert_close(features.levels[8], unit(backbone.project_image(backbone.finish_vision(x)[:, 1:])), atol=1e-5)
    assert_close(features.detection, unit(embedding_of(run, images)), atol=1e-5)


@pytest.mark.parametrize("option", ["prompts.rounding", "stages.prompts.rounding"])
def test_rounding_is_of_each_copy_and_of_its_gradient(option: str, build: Build) -> None:
    run, plain = build(f"{option}=half"), build()
    model = run.model
    tokens = model.prompts.tokens if option == "prompts.rounding" else model.slots.stages["prompts"].tokens
    exact = plain.model.prompts.tokens if option == "prompts.rounding" else plain.model.slots.stages["prompts"].tokens
    z, copies = torch.randn(1, 24, generator=torch.Generator().manual_seed(0)).expand(3, -1), torch.empty(0)
    found = tokens(1, z, copies)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact(1, z, copies).half().float())
    slopes = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)) / 3
    tokens.static[1].requires_grad_(True)
    (tokens(1, z, copies) * slopes).sum().backward()
    assert torch.equal(gradient_of(tokens.static[1]), slopes.half().float().sum(dim=0))
    first, second = (predictions(one, images_for(run, 3))[2].detection for one in (run, plain))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("option", ["fusion=0", "fusion=0.9", "patches=16", "clusters=9", "start=seeded", "scale=30"])
def test_an_option_of_the_head_acts_on_the_image_score(option: str, build: Build) -> None:
    images = images_for(build(), 3)
    plain, changed = (predictions(build(*given), images)[2] for given in ((), (f"head.{option}",)))
    assert not torch.equal(plain.detection, changed.detection)
    assert torch.equal(plain.maps, changed.maps) == (not option.startswith("scale"))


def test_sigma_is_that_of_the_map_and_blur_can_be_left_out(build: Build) -> None:
    run = build("head.sigma=1.5")
    features, text, scores = predictions(run, images_for(run, 2), CLASSES[:2])
    bare = run.model.head.score(features, text, 32, "industrial", smooth=False)
    assert_close(scores.maps, np.stack([gaussian_filter(one, 1.5) for one in bare.maps.detach().numpy()]), rtol=1e-4)
    assert torch.equal(scores.grid, bare.grid)


@torch.no_grad()
def test_a_seeded_start_is_the_same_for_every_image_of_the_batch(build: Build) -> None:
    run, other = build("head.start=seeded"), build("head.start=seeded", "head.seed=4")
    features, text, _ = predictions(run, images_for(run, 3))
    found = run.model.head.fused(features, text).feature
    assert not torch.equal(found, other.model.head.fused(features, text).feature)
    for number in range(3):
        levels = [of[number] for of in features.levels.values()]
        assert_close(found[number], naive_fused(levels, text[number], 9, 111), atol=1e-5)


def points_of(seed: int, count: int, width: int = 12) -> Tensor:
    """Points around a few places, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(7, width, generator=generator)
    return places[torch.arange(count) % 7] + 0.8 * torch.randn(count, width, generator=generator)


@pytest.mark.parametrize("start", [None, 0, 111])
@pytest.mark.parametrize(("count", "clusters"), [(25, 20), (49, 20), (100, 20), (100, 3), (30, 30), (9, 1)])
def test_clusters_are_those_of_scikit_learn(count: int, clusters: int, start: int | None) -> None:
    for seed in range(5):
        points = points_of(seed, count)
        given: Any = {"init": points[:clusters].numpy()} if start is None else {"random_state": start}
        expected = KMeans(clusters, n_init=1, **given).fit(points.numpy()).labels_
        found = k_means(points, clusters, None if start is None else np.random.RandomState(start))
        assert found.tolist() == expected.tolist()


def test_a_cluster_that_loses_all_its_points_takes_the_farthest_one() -> None:
    """Of two centres at one place the second gets nothing."""
    points = torch.tensor([[0.0], [0.0], [1.0], [1.2], [9.0], [10.0]])
    expected = KMeans(3, init=points[:3].numpy(), n_init=1).fit(points.numpy()).labels_
    assert k_means(points, 3).tolist() == expected.tolist()
    assert len(set(expected)) == 3


def test_points_that_are_all_alike_are_one_cluster_and_fuse_to_themselves() -> None:
    feature = unit(torch.ones(1, 1, 1, 6)).expand(1, 2, 8, 6)
    found = fuse(feature, torch.rand(1, 8, generator=torch.Generator().manual_seed(0)), 6, 3)
    assert_close(found.feature, feature[0, 0, :1])
    assert k_means(torch.zeros(5, 2), 3, np.random.RandomState(0)).shape == (5,)


def test_the_most_abnormal_patches_are_fused_and_each_cluster_counts_the_same() -> None:
    abnormal = torch.rand(2, 30, generator=torch.Generator().manual_seed(2))
    levels = torch.stack([torch.stack([points_of(seed, 30) for seed in (image, image + 9)]) for image in (0, 1)])
    found = fuse(levels, abnormal, 20, 5, repeat(None))
    assert torch.equal(found.selected, abnormal.sort(dim=1, descending=True).indices[:, :20])
    for image in range(2):
        chosen = levels[image][:, found.selected[image]]
        centres = [chosen[:, found.labels[image] == cluster].mean(dim=(0, 1)) for cluster in range(5)]
        assert_close(found.feature[image], unit(torch.stack(centres).mean(dim=0)))


def test_a_step_reaches_everything_but_the_text_tokens_of_block_0(build: Build) -> None:
    run = build("scheduler.batch=3")
    phase = build_phase(run, plan_ahead(run.scheduler)[0].phases[0], 1, 0, frozenset({"text", "vision"}))
    with phase.open() as parameters:
        batch = next(iter(phase.batches.epoch(1)))
        with phase.at(batch, 1):
            total(phase.terms(batch, phase.fixed_inputs(batch))).backward()
        untouched = [name for name, parameter in parameters.items() if parameter.grad is None]
        assert untouched == ["prompts.tokens.static.0"]
        assert all(parameter.grad.abs().sum() > 0 for parameter in parameters.values() if parameter.grad is not None)


def test_published_names_are_the_keys_of_published_checkpoints(build: Build) -> None:
    model = build().model
    names, shapes = model.published_names(), {name: list(p.shape) for name, p in model.all_trained_parameters().items()}
    found = {key.removeprefix("clip_model."): shapes[own] for own, key in names.items()}
    assert all(key.startswith("clip_model.") for key in names.values())
    assert shapes.keys() == names.keys()
    expected = {f"text_prompter.static_prompts.{block}": [5, 16] for block in range(3)}
    expected |= {f"visual_prompter.static_prompts.{block}": [4, 32] for block in range(3)}
    layers = {f"patch_token_layer.head.{place}": (24, 32) for place in range(4)} | {"cls_token_layer.head.0": (24, 24)}
    layers |= {f"dynamic_visual_prompt_generator.head.{token}": (32, 24) for token in range(4)}
    layers |= {f"dynamic_text_prompt_generator.head.{token}": (16, 24) for token in range(5)}
    for key, (out, into) in layers.items():
        expected |= {f"{key}.weight": [out, into], f"{key}.bias": [out]}
    assert found == expected


def test_a_published_checkpoint_is_known_and_comes_in_whole(build: Build) -> None:
    model = build().model
    parameters, names = model.all_trained_parameters(), model.published_names()
    tensors = {key: torch.randn_like(parameters[own]) for own, key in names.items()}
    state, unused = component_state(tensors, model, "epoch_5.pth")
    assert not unused
    assert all(torch.equal(state[own], tensors[key]) for own, key in names.items())
    (pattern,) = PromptOptions.published_keys
    assert sum(fnmatchcase(key, pattern) for key in tensors) == 3


def test_the_untouched_class_embedding_is_made_once_an_image(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    run, count = build(), [0]
    monkeypatch.setattr(run.model.backbone, "embed_image", counted(run.model.backbone.embed_image, count))
    plan = plan_ahead(run.scheduler)[0].phases[0]
    phase = build_phase(run, plan, 1, 0, frozenset({"text", "vision"}), open_feature_store(run))
    seen: list[tuple[Step, int]] = []
    train_phase(phase, StepCallback(lambda step: seen.append((step, count[0]))))
    images = len(run.data.sets["train"].samples)
    assert [step.epoch for step, _ in seen] == [1] * images + [2] * images
    assert seen[images - 1][1] == 2 * images, "once untouched, and once with prompts"
    assert seen[-1][1] == 3 * images, "and with prompts alone in later epochs"
    count[0] = 0
    list(evaluator_of(run).scored_batches(run.data.sets["test"], "green_wood", frozenset({"text", "vision"}), True))
    assert count[0] == 2 * 8


def counted(embed: Callable[[Tensor], Tensor], count: list[int]) -> Callable[[Tensor], Tensor]:
    """The same, with its images counted."""

    def embedded(images: Tensor) -> Tensor:
        count[0] += len(images)
        return embed(images)

    return embedded


@pytest.mark.parametrize(
    ("override", "where", "words"),
    [
        ("head.clusters=10", "head.clusters", "10 clusters of 9 patches"),
        ("head.patches=3", "head.clusters", "4 clusters of 3 patches"),
        ("backbone.image_size=8", "head.clusters", "4 clusters of 1 patches"),
        ("prompts.depth=5", "prompts.depth", "5 blocks of prompt tokens in a text tower of 4"),
        ("prompts.length=8", "prompts.length", 'would cover the end of "a bad photo of a x."'),
        ('prompts.templates=["{}"]', "prompts.length", 'would cover the end of "x"'),
        ('prompts.normal=["good"]', "prompts.normal.0", "needs {} once"),
        ("stages.prompts.tower=text", "stages.prompts.tower", "vision"),
        ("stages.prompts.after=[8]", "stages.prompts.after", "there is no block 8"),
    ],
)
def test_bad_input_is_one_plain_error(override: str, where: str, words: str, build: Build) -> None:
    with pytest.raises(UserError) as caught:
        build(override)
    assert words in str(caught.value)
    assert where in str(caught.value)


def test_without_fusion_the_number_of_patches_does_not_matter(build: Build) -> None:
    build("head.fusion=0", "head.clusters=10")
    build("head.fusion=0", "backbone.image_size=8")


@pytest.mark.usefixtures("undrawn")
def test_a_run_trains_and_scores(file: Path, tmp_path: Path) -> None:
    metrics, watcher = run_file(file, tmp_path / "run", "device=cpu", "scheduler.batch=3", "scheduler.rate=1e-2")
    assert watcher.phases == [(1, "both")]
    assert all(np.isfinite(step.loss) for step in watcher.steps)
    assert set(watcher.steps[0].gradient_norms) == {"text_head", "prompts", "vision_heads"}
    assert metrics["before"]["mean"] != metrics["loops"][0]["mean"]
