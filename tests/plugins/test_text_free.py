"""The head without text against its naive twin, on the tiny random backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from aaclip_kit import ImageFeatures, Scores, UserError
from aaclip_kit.contracts.errors import UserErrors
from aaclip_kit.run.assemble import Run

from ..build import evaluator_of, images_for, train, values_of
from ..helpers import assert_close, bilinear
from .methods import assembled, write_method

TABLES = """
[head]
use = "text_free"
[losses.vision.image]
use = "image_cross_entropy"
"""
TOKENS, IMAGES = ("raw", "normed", "projected"), ("class_token", "mean", "max")


@pytest.fixture
def method(tmp_path: Path, tiny_clip: Path, defects: Path) -> Path:
    return write_method(tmp_path, tiny_clip, defects, TABLES)


def frozen(path: Path, *overrides: str) -> Run:
    run = assembled(path, *overrides)
    run.model.requires_grad_(False)
    return run


def features_of(run: Run, images: Tensor) -> ImageFeatures:
    return run.model.image_features(images, ("green_wood",) * len(images), attention=False)


def scores_of(run: Run, images: Tensor, smooth: bool = True) -> Scores:
    return run.model.head.score(features_of(run, images), None, images.shape[-1], "industrial", smooth)


@torch.no_grad()
def naive_tokens(run: Run, images: Tensor, tokens: str) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Patches of each level as an option asks for them, and class embeddings."""
    backbone, levels = run.model.backbone, {}
    stream = backbone.embed_image(images)
    for block in range(backbone.vision.depth):
        stream = backbone.vision_block(block, stream)
        if block + 1 in run.model.levels:
            patches = stream[:, 1:] if tokens == "raw" else backbone.finish_vision(stream)[:, 1:]
            patches = backbone.project_image(patches) if tokens == "projected" else patches
            levels[block + 1] = patches.double().numpy()
    return levels, backbone.project_image(backbone.finish_vision(stream)[:, 0]).double().numpy()


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.sqrt(one @ one) / np.sqrt(other @ other))


def probability(normal: float, abnormal: float) -> float:
    return float(1 / (1 + np.exp(normal - abnormal)))


def naive_scores(run: Run, images: Tensor, tokens: str, image: str, temperature: float) -> tuple[list[Any], list[Any]]:
    """Grids and image scores, patch by patch."""
    head: Any = run.model.head
    levels, embeddings = naive_tokens(run, images, tokens)
    grids, scores = [], []
    for number in range(len(images)):
        logits = []
        for level, patches in levels.items():
            vectors = head.levels[str(level)].detach().double().numpy()
            logits.append([[temperature * cosine(patch, vector) for vector in vectors] for patch in patches[number]])
        side = round(len(logits[0]) ** 0.5)
        abnormal = np.mean([[probability(*patch) for patch in level] for level in logits], axis=0)
        grids.append(abnormal.reshape(side, side))
        together = np.mean(logits, axis=0)
        if image == "class_token":
            whole = head.whole.detach().double().numpy()
            scores.append(probability(*(temperature * cosine(embeddings[number], vector) for vector in whole)))
        elif image == "mean":
            scores.append(probability(*together.mean(axis=0)))
        else:
            scores.append(max(probability(*patch) for patch in together))
    return grids, scores


def single(values: Any) -> Tensor:
    return torch.tensor(np.asarray(values), dtype=torch.float32)


@pytest.mark.parametrize(
    ("tokens", "image"), [("normed", "class_token"), ("raw", "mean"), ("projected", "max"), ("normed", "max")]
)
def test_maps_and_scores_equal_the_naive_twin(method: Path, tokens: str, image: str) -> None:
    run = frozen(method, f"head.tokens={tokens}", f"head.image={image}", "head.temperature=7.0", "head.sigma=0.0")
    images = images_for(run, 2)
    found, (grids, scores) = scores_of(run, images), naive_scores(run, images, tokens, image, 7.0)
    assert_close(found.grid, single(grids), rtol=1e-4, atol=1e-5)
    assert_close(found.maps, single([bilinear(grid, images.shape[-1]) for grid in grids]), rtol=1e-4, atol=1e-5)
    assert_close(found.detection, single(scores), rtol=1e-4, atol=1e-5)


def test_left_to_itself_it_compares_normed_patches_and_the_class_token_at_20_smoothed_by_one_patch(
    method: Path,
) -> None:
    run = frozen(method)
    images = images_for(run, 2)
    grids, scores = naive_scores(run, images, "normed", "class_token", 20.0)
    found = scores_of(run, images)
    smoothed = [gaussian_filter(grid, 1.0) for grid in grids]
    assert_close(found.grid, single(smoothed), rtol=1e-4, atol=1e-5)
    assert_close(found.detection, single(scores), rtol=1e-4, atol=1e-5)
    assert_close(scores_of(run, images, smooth=False).grid, single(grids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("image", IMAGES)
def test_losses_see_each_levels_softmax_at_every_pixel_and_the_images_logits(method: Path, image: str) -> None:
    run = frozen(method, f"head.image={image}")
    images = images_for(run, 2)
    head: Any = run.model.head
    size, features = images.shape[-1], features_of(run, images)
    levels = head.level_probabilities(features, None, size)
    assert list(levels) == list(run.model.levels)
    tokens, vectors = naive_tokens(run, images, "normed")[0], head.levels
    for level, found in levels.items():
        pair = vectors[str(level)].detach().double().numpy()
        logits = np.array([[20 * cosine(patch, one) for one in pair] for patch in tokens[level][1]])
        side = round(len(logits) ** 0.5)
        normal, abnormal = (bilinear(plane.reshape(side, side), size) for plane in logits.T)
        assert_close(found[1, 1], single(1 / (1 + np.exp(normal - abnormal))), rtol=1e-4, atol=1e-5)
    logits_of_images = head.detection_logits(features, None)
    assert_close(logits_of_images.softmax(dim=1)[:, 1], scores_of(run, images).detection)


@pytest.mark.parametrize("tokens", TOKENS)
@pytest.mark.parametrize("image", IMAGES)
def test_training_moves_the_vectors_and_nothing_else(method: Path, tokens: str, image: str) -> None:
    run = assembled(method, f"head.tokens={tokens}", f"head.image={image}")
    before = values_of(run.model)
    (plan,) = run.scheduler.next_loop(()).phases  # type: ignore[union-attr]
    steps = train(run, plan)
    moved = {name for name, value in values_of(run.model).items() if not torch.equal(value, before[name])}
    own = {f"head.levels.{level}" for level in run.model.levels}
    assert moved == own | ({"head.whole"} if image == "class_token" else set())
    assert steps[-1].loss < steps[0].loss


def test_no_text_is_walked_or_asked_for(method: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = assembled(method)
    assert run.model.text is None and run.model.prompts is None

    def refuse(*_: object) -> None:
        raise AssertionError("the text tower was asked")

    for name in ("tokenize", "embed_text", "text_block", "finish_text", "project_text", "end_of_text"):
        monkeypatch.setattr(run.model.backbone, name, refuse)
    (plan,) = run.scheduler.next_loop(()).phases  # type: ignore[union-attr]
    train(run, plan)
    for trained in (False, True):
        found = evaluator_of(run).metrics(run.data.sets["test"], frozenset(), trained=trained)
        assert 0 <= found["mean"]["pixel_auroc"] <= 1


def test_vectors_depend_on_the_seed_and_their_level_alone(method: Path) -> None:
    heads: list[Any] = [assembled(method, *one).model.head for one in ((), ("model.levels=[2, 8]",), ("seed=4",))]
    first, again, other = heads
    for level in ("2", "8"):
        assert torch.equal(first.levels[level], again.levels[level])
        assert not torch.equal(first.levels[level], other.levels[level])
    assert not torch.equal(first.levels["2"], first.levels["8"])


def test_a_loss_of_text_features_is_refused(method: Path) -> None:
    with pytest.raises(UserError, match="text_features, which the head does not make"):
        assembled(method, "losses.vision.image.use=orthogonality")


def test_a_stage_of_the_text_tower_is_refused(method: Path) -> None:
    method.write_text(method.read_text() + '[stages.words]\nuse = "residual_adapter"\ntower = "text"\nafter = [0]\n')
    with pytest.raises(UserError, match="needs text, and the head makes none"):
        assembled(method)


@pytest.mark.parametrize(
    ("key", "value"), [("temperature", "0.0"), ("sigma", "17.0"), ("tokens", "plain"), ("image", "median")]
)
def test_values_that_cannot_be_are_told_with_their_key(method: Path, key: str, value: str) -> None:
    with pytest.raises(UserErrors) as caught:
        assembled(method, f"head.{key}={value}")
    (fault,) = caught.value.faults
    assert str(fault.where).endswith(f"head.{key}")
