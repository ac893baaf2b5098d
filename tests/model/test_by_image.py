"""Prompts that go by the image, and vision stages that attend to its class embedding: each image by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaclip_kit import AttentionStage, Context, UserError, text_tower
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.run.assemble import Run

from ..build import (
    build,
    class_embeddings,
    contexts_for,
    evaluator_of,
    images_for,
    move_weights,
    plan_for,
    text_of,
    train,
    with_parts,
)  # fmt: skip
from ..evaluation.given import whole_class
from ..helpers import assert_close
from ..parts import ByImage

CLASSES = ("red_cloth", "green_wood", "green_wood", "red_cloth")


def run_by_image(path: Path, first: int, *overrides: str) -> Run:
    """The small experiment with prompts that go by the image before block `first` and the next."""
    run = with_parts(path, *overrides, prompts=lambda _, setting: ByImage(setting.backbone, first))
    move_weights(run.model)
    return run


def naive_features(run: Run, name: str, embedding: Tensor, context: Tensor | None, staged: bool = True) -> Tensor:
    """`[E, 2]` of one image, both prompts over all 77 tokens."""
    backbone, prompts = run.model.backbone, run.model.prompts
    assert isinstance(prompts, ByImage)
    tokens = backbone.tokenize(prompts.prompts(run.data.real_names[name]))
    x = backbone.embed_text(tokens)
    for block in range(text_tower(backbone).depth):
        if block in (prompts.first, prompts.first + 1):
            x = x + prompts.own(embedding)
        x = backbone.text_block(block, x)
        for at, _, stage in run.model.slots.of("text") if staged else ():
            if at == block and stage.context_kind == "none":
                x = stage(x, None)
            elif at == block and context is not None:
                x = stage(x, Context(context[None].expand(len(x), -1, -1)))
    features = backbone.project_text(backbone.finish_text(x, backbone.end_of_text(tokens)))
    return (features / features.norm(dim=-1, keepdim=True)).T


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("site", [0, 2])
@torch.no_grad()
def test_each_image_has_its_own_text_feature(small_experiment: Path, first: int, site: int) -> None:
    run = run_by_image(small_experiment, first, f"stages.text_to_image.after=[{site}]")
    images, contexts = images_for(run, 4), contexts_for(run, 4)
    embedding = class_embeddings(run.model, images)
    for context in (None, contexts):
        found = run.model.text_features(CLASSES, context, embedding=embedding)
        for place, name in enumerate(CLASSES):
            own = None if context is None else context[place]
            assert_close(found[place], naive_features(run, name, embedding[place], own), atol=1e-5)
    assert (found[1] - found[2]).abs().max() > 1e-3, "two images of a class must differ"


@pytest.mark.parametrize("first", [0, 1])
@torch.no_grad()
def test_so_it_has_before_training(small_experiment: Path, first: int) -> None:
    run = run_by_image(small_experiment, first)
    embedding = class_embeddings(run.model, images_for(run, 4))
    found = text_of(run.model).untrained_features(CLASSES, embedding=embedding)
    for place, name in enumerate(CLASSES):
        assert_close(found[place], naive_features(run, name, embedding[place], None, staged=False), atol=1e-5)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("conditioning", ["none", "image"])
def test_a_batch_scores_as_its_images_one_by_one(small_experiment: Path, trained: bool, conditioning: str) -> None:
    options = [f"evaluation.text_conditioning={conditioning}"]
    many, one = (run_by_image(small_experiment, 1, *options, f"evaluation.batch_size={size}") for size in (8, 1))

    def scored(run: Run) -> tuple[Evaluator, Tensor]:
        evaluator = evaluator_of(run)
        found = whole_class(evaluator, run.data.sets["test"], "green_wood", {"text", "vision"}, trained)
        return evaluator, torch.from_numpy(found.maps)

    maps = scored(many)[1]
    assert_close(maps, scored(one)[1], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        run_prompts = many.model.prompts
        assert isinstance(run_prompts, ByImage)
        run_prompts.own.weight.zero_()
    assert (scored(many)[1] - maps).abs().max() > 1e-3


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_phase_sees_them_and_trains_them_with_the_text(small_experiment: Path, tower: str) -> None:
    run = run_by_image(small_experiment, 0, "switches.dropout=false")
    (step,) = train(run, plan_for(tower, batch_size=8))  # type: ignore[arg-type]
    own = [parameter.grad for name, parameter in run.model.trained_parameters("text").items() if ".own." in name]
    assert len(own) == 2
    assert all((grad is not None and bool(grad.abs().max() > 0)) == (tower == "text") for grad in own)
    assert ("text_head" in step.gradient_norms) == (tower == "text")


class LooksAtTheWhole(AttentionStage):
    """Adds what the class embedding of the image says."""

    context_kind = "class"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        assert context is not None
        self.seen.append(context.tokens)
        return tokens + context.tokens.mean(dim=-1, keepdim=True) * tokens.flip(-1)


def test_a_vision_stage_may_attend_to_its_own_images_class_embedding(small_experiment: Path) -> None:
    run = build(small_experiment)
    model, images, stage = run.model, images_for(run, 3), LooksAtTheWhole()
    before = model.image_features(images, CLASSES[:3], True).levels
    model.slots.place("whole", "vision", 4, stage)
    found = model.image_features(images, CLASSES[:3], True).levels
    assert_close(stage.seen[0], class_embeddings(model, images)[:, None])
    assert_close(found[4], before[4])
    assert (found[6] - before[6]).abs().max() > 1e-3
    for place, name in enumerate(CLASSES[:3]):
        alone = model.image_features(images[place : place + 1], (name,), True).levels
        assert_close(alone[8][0], found[8][place], atol=1e-5)
    assert torch.equal(model.image_features(images, CLASSES[:3], False).levels[8], before_without(run, images))


def before_without(run: Run, images: Tensor) -> Tensor:
    """Level 8 with no stage that has a context."""
    return run.model.head.features(run.model.image.read(images, run.model.head.reads, (8,), {})).levels[8]


def test_a_text_stage_cannot_attend_to_it(small_experiment: Path) -> None:
    factory = {"text_adapter": lambda _, setting: LooksAtTheWhole()}
    with pytest.raises(UserError, match="cannot attend to the class context, which prompts go by") as caught:
        with_parts(small_experiment, stages=factory)
    assert caught.value.where == "stages.text_adapter"
