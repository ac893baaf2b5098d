"""Frozen and trained image features against plain passes, one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone
from torch import Tensor
from torch.nn.functional import normalize

from aaclip_kit import AttentionStage, Context
from aaclip_kit.contracts.backbone import Surgery
from aaclip_kit.run.assemble import Run

from ..build import build, class_embeddings, head_of, images_for, text_of, untouched_features
from ..helpers import assert_close

LONG_NAME = 'data.test.real_names.green_wood="green wood with a very long and winding grain"'
CLASSES = ("red_cloth", "green_wood", "red_cloth", "green_wood", "green_wood")


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment, LONG_NAME)


def clip(run: Run) -> Any:
    """open_clip's own model, which the backbone walks."""
    backbone = run.model.backbone
    assert isinstance(backbone, OpenClipBackbone)
    return backbone.clip


def plain_tokens(run: Run, images: Tensor, blocks: int, surgery: Surgery = "none") -> Tensor:
    """Vision tokens after the first `blocks` blocks of the untouched backbone, normed."""
    backbone = run.model.backbone
    x = backbone.embed_image(images)
    for block in range(blocks):
        x = backbone.vision_block(block, x, surgery if block >= backbone.surgery_start else "none")
    return backbone.finish_vision(x)


def staged_tokens(run: Run, image: Tensor, name: str, blocks: int, attention: bool = True) -> Tensor:
    """Normed tokens `[V, Dv]` of one image after the first `blocks` blocks, all stages acting."""
    model = run.model
    contexts = {
        "text": text_of(model).text_context((name,), padding=False),
        "image": Context(untouched_features(model, image[None], (2,)).levels[2]),
    }
    x = model.backbone.embed_image(image[None])
    for block in range(-1, blocks):
        x = model.backbone.vision_block(block, x) if block >= 0 else x
        for at, _, stage in model.slots.of("vision"):
            if at == block and stage.context_kind == "none":
                x = stage(x, None)
            elif at == block and attention:
                x = stage(x, contexts[stage.context_kind])
    return model.backbone.finish_vision(x)[0]


def class_embedding(run: Run, images: Tensor) -> Tensor:
    backbone = run.model.backbone
    return normalize(plain_tokens(run, images, backbone.vision.depth)[:, 0] @ clip(run).visual.proj, dim=-1)


@pytest.mark.parametrize("surgery", ["tokens", "batch"])
def test_untouched_features_equal_two_plain_passes(small_experiment: Path, surgery: Surgery) -> None:
    run = build(small_experiment, f"switches.surgery_attention={surgery}")
    images = images_for(run, 3)
    found = untouched_features(run.model, images)
    embedding = class_embedding(run, images)
    assert found.detection is not None
    assert_close(found.detection, embedding)
    for level in (2, 4, 6, 8):
        patches = plain_tokens(run, images, level, surgery)[:, 1:] @ clip(run).visual.proj
        assert_close(found.levels[level], normalize(patches, dim=-1) + embedding[:, None])


def test_class_embedding_is_the_backbones_own(run: Run) -> None:
    images = images_for(run, 2)
    encoded = clip(run).encode_image(images)
    assert_close(class_embeddings(run.model, images), encoded)
    assert_close(untouched_features(run.model, images, (2,)).detection, normalize(encoded, dim=-1))


@pytest.mark.parametrize("levels", [(2,), (4,), (1, 5)])
def test_untouched_features_of_some_levels_are_those_of_all(run: Run, levels: tuple[int, ...]) -> None:
    images = images_for(run, 2)
    every = untouched_features(run.model, images, tuple(range(1, 9))).levels
    found = untouched_features(run.model, images, levels).levels
    assert list(found) == list(levels)
    for level in levels:
        assert_close(found[level], every[level])


@pytest.mark.parametrize("blocks", [0, 8])
def test_surgery_can_act_in_no_block_or_in_all(small_experiment: Path, blocks: int) -> None:
    run = build(small_experiment, f"backbone.surgery_blocks={blocks}")
    images = images_for(run, 2)
    found = untouched_features(run.model, images, (4,)).levels[4]
    patches = plain_tokens(run, images, 4, "tokens")[:, 1:] @ clip(run).visual.proj
    assert_close(found, normalize(patches, dim=-1) + class_embedding(run, images)[:, None])


@pytest.mark.parametrize("first", [0, -1])
@pytest.mark.parametrize("attention", [True, False])
def test_a_level_is_the_output_of_its_first_blocks_with_their_stages(
    small_experiment: Path, attention: bool, first: int
) -> None:
    sites = [f"stages.{name}.after=[{first}, 1]" for name in ("vision_adapter", "image_to_text", "text_adapter")]
    run = build(small_experiment, LONG_NAME, *sites)
    images, weights = images_for(run, len(CLASSES)), run.model.head.state_dict()
    found = run.model.image_features(images, CLASSES, attention)
    assert list(found.levels) == [2, 4, 6, 8]
    for place, name in enumerate(CLASSES):
        for level in found.levels:
            tokens = staged_tokens(run, images[place], name, level, attention)[1:]
            projected = tokens @ weights[f"segmentation.{level}.linear.weight"].T
            assert_close(found.levels[level][place], normalize(projected, dim=-1))
        projected = staged_tokens(run, images[place], name, 8, attention)[1:] @ weights["detection.linear.weight"].T
        assert found.detection is not None
        assert_close(found.detection[place], normalize(projected, dim=-1).mean(0))


def test_trained_features_carry_the_frozen_class_embedding_and_no_gradient(run: Run) -> None:
    images = images_for(run, len(CLASSES))
    with run.model.training_tower("vision"):
        seen, context = run.model.text_phase_inputs(images, CLASSES, True, {"text", "vision"})
        assert run.model.image_features(images, CLASSES, True).levels[2].requires_grad
        assert not any(found.requires_grad for found in seen.levels.values())
    seen, context = run.model.text_phase_inputs(images, CLASSES, True, {"text", "vision"})
    expected = run.model.image_features(images, CLASSES, True).levels
    assert context is seen.levels[2]
    for level, found in seen.levels.items():
        assert_close(found, expected[level] + class_embedding(run, images)[:, None])


def test_what_the_text_phase_sees_by_who_attends(run: Run) -> None:
    images = images_for(run, 2)
    see = run.model.text_phase_inputs
    frozen, context = see(images, CLASSES[:2], False, {"text", "vision"})
    assert context is not None and context is frozen.levels[2]
    assert_close(context, untouched_features(run.model, images, (2,)).levels[2])
    assert see(images, CLASSES[:2], False, {"vision"})[1] is None
    with_attention = see(images, CLASSES[:2], True, {"text", "vision"})[0].levels[8]
    without = see(images, CLASSES[:2], True, {"text"})[0].levels[8]
    assert (with_attention - without).abs().max() > 1e-3


def features_and_scores(run: Run, images: Tensor, classes: tuple[str, ...]) -> list[Tensor]:
    """Everything that an image is given: frozen, trained and seen features, text features, maps and scores."""
    model = run.model
    frozen, trained = untouched_features(model, images), model.image_features(images, classes, True)
    seen, context = model.text_phase_inputs(images, classes, True, {"text", "vision"})
    text = model.text_features(classes, context)
    scores = model.head.score(trained, text, run.pixels.size, "industrial", True)
    of_levels = [*frozen.levels.values(), *trained.levels.values(), *seen.levels.values()]
    return [*of_levels, text, scores.maps, scores.detection]


@torch.no_grad()
def alone_and_among_others(run: Run) -> list[tuple[Tensor, Tensor]]:
    images = images_for(run, len(CLASSES))
    together = features_and_scores(run, images, CLASSES)
    pairs = []
    for place, name in enumerate(CLASSES):
        alone = features_and_scores(run, images[place : place + 1], (name,))
        pairs += [(one[0], all_of_them[place]) for one, all_of_them in zip(alone, together, strict=True)]
    return pairs


def test_batch_mates_change_nothing_in_the_corrected_form(run: Run) -> None:
    for alone, among in alone_and_among_others(run):
        assert_close(alone, among, rtol=1e-5, atol=1e-5)


def test_batch_mates_change_features_in_the_published_form(small_experiment: Path) -> None:
    run = build(small_experiment, "profile=published")
    images = images_for(run, 4)
    together = untouched_features(run.model, images, (8,)).levels[8]
    alone = untouched_features(run.model, images[:1], (8,)).levels[8]
    change = (together[0] - alone[0]).norm() / alone[0].norm()
    assert change > 0.01, "V-V attention over the batch mixes its images"
    assert not all(torch.allclose(*pair, rtol=1e-5, atol=1e-5) for pair in alone_and_among_others(run))


class LooksAtPatches(AttentionStage):
    """A vision stage that attends to the image context."""

    context_kind = "image"

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        assert context is not None
        return tokens + context.tokens.mean((1, 2))[:, None, None] * tokens.flip(-1)


def test_a_vision_stage_may_attend_to_its_own_images_frozen_context(run: Run) -> None:
    images, model = images_for(run, 3), run.model
    before = model.image_features(images, CLASSES[:3], True).levels
    model.slots.place("looking", "vision", 4, LooksAtPatches())
    found = model.image_features(images, CLASSES[:3], True).levels
    assert_close(found[4], before[4])
    assert (found[6] - before[6]).abs().max() > 1e-3
    for place, name in enumerate(CLASSES[:3]):
        tokens = staged_tokens(run, images[place], name, 6)[1:]
        assert_close(found[6][place], normalize(head_of(model).segmentation["6"](tokens), dim=-1))
