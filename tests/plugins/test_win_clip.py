"""The head `win_clip`: its formula patch by patch, its options, and runs with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from aaclip_kit_plugins.win_clip import WinClipOptions
from aaclip_kit_plugins.win_clip.head import WinClip, abnormal_probability, cosines, window_map
from pydantic import ValidationError
from torch import Tensor

from aaclip_kit import ImageFeatures, PhasePlan
from aaclip_kit.run.assemble import Run

from ..build import build, images_for, plan_for, train
from ..helpers import assert_close

OWN = (
    *("head.use=win_clip", "prompts.use=ensemble", "prompts.ensemble=win_clip", "prompts.projection=frozen"),
    *(
        "prompts.average=raw",
        "stages={}",
        "model.levels=[8]",
        "evaluation.image_score=detection",
        "evaluation.blur=false",
    ),
)


@pytest.fixture
def run(small_experiment: Path) -> Run:
    return build(small_experiment, *OWN, "scheduler.use=none")


def head_of(run: Run) -> WinClip:
    assert isinstance(run.model.head, WinClip)
    return run.model.head


@torch.no_grad()
def read(run: Run, count: int = 2) -> tuple[ImageFeatures, Tensor]:
    classes = ("green_wood", "red_cloth") * (count // 2)
    model = run.model
    return model.image_features(images_for(run, count), classes, False), model.text_features(classes, None)


def probability(embedding: Tensor, text: Tensor, temperature: float) -> float:
    normal, abnormal = (torch.cosine_similarity(embedding, text[:, state], dim=0) for state in (0, 1))
    return float(torch.stack([normal, abnormal]).div(temperature).softmax(0)[1])


def naive_map(windows: dict[int, Tensor], whole: float, text: Tensor, temperature: float) -> Tensor:
    """One image's map, patch by patch, from lists of the windows that hold each."""
    grid = Tensor(4, 4)
    for row in range(4):
        for column in range(4):
            means = [whole]
            for side, embeddings in windows.items():
                places = 4 - side + 1
                held = [
                    probability(embeddings[top * places + left], text, temperature)
                    for top in range(places)
                    for left in range(places)
                    if top <= row < top + side and left <= column < left + side
                ]
                means.append(len(held) / sum(1 / score for score in held))
            grid[row, column] = len(means) / sum(1 / mean for mean in means)
    return grid


@torch.no_grad()
@pytest.mark.parametrize(
    ("overrides", "scales", "temperature"),
    [((), (2, 3), 0.07), (("head.scales=[1, 2, 4]", "head.temperature=0.5"), (1, 2, 4), 0.5)],
    ids=["published", "others"],
)
def test_maps_and_scores_equal_the_formula_patch_by_patch(
    small_experiment: Path, overrides: tuple[str, ...], scales: tuple[int, ...], temperature: float
) -> None:
    run = build(small_experiment, *OWN, "scheduler.use=none", *overrides)
    features, text = read(run)
    assert features.windows is not None and features.detection is not None and tuple(features.windows) == scales
    scores = head_of(run).score(features, text, 32, "industrial", smooth=True)
    for place in range(2):
        whole = probability(features.detection[place], text[place], temperature)
        assert_close(scores.detection[place], whole)
        windows = {side: of[place] for side, of in features.windows.items()}
        expected = naive_map(windows, whole, text[place], temperature)
        assert_close(scores.grid[place], expected)
        large = torch.nn.functional.interpolate(expected[None, None], 32, mode="bilinear", align_corners=False)
        assert_close(scores.maps[place], large[0, 0])


@torch.no_grad()
def test_the_map_has_no_blur_and_lies_between_the_colours_ends(run: Run) -> None:
    (features, text), head = read(run), head_of(run)
    smooth, plain = (head.score(features, text, 32, "industrial", smooth=smooth) for smooth in (True, False))
    assert torch.equal(smooth.maps, plain.maps)
    low, high = head.shown
    assert_close(low + high, 1.0)
    assert_close(torch.tensor(high).logit() * 0.07, 0.1)


def test_a_window_of_probability_nought_makes_its_patches_nought() -> None:
    scores = torch.full((1, 9), 0.5)
    scores[0, 4] = 0
    found = window_map(scores, 4, 2)
    assert torch.equal(found[0, 1:3, 1:3], torch.zeros(2, 2))
    assert_close(found[0, 0], torch.full((4,), 0.5))


def test_cosines_are_float32_under_autocast() -> None:
    embeddings, text = torch.randn(2, 5, 7), torch.randn(2, 7, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = cosines(embeddings, text)
    for image in range(2):
        for window in range(5):
            of = [torch.cosine_similarity(embeddings[image, window], text[image, :, state], dim=0) for state in (0, 1)]
            assert_close(found[image, window], torch.stack(of))


def test_levels_and_logits_are_those_of_the_scores(run: Run) -> None:
    (features, text), head = read(run), head_of(run)
    scores = head.score(features, text, 32, "industrial", smooth=False)
    assert_close(abnormal_probability(head.detection_logits(features, text)), scores.detection)
    (level,) = head.level_probabilities(features, text, 32).values()
    assert_close(level, torch.stack([1 - scores.maps, scores.maps], dim=1))


def test_prompts_train_through_it(small_experiment: Path) -> None:
    """It has no weights itself; what a text phase trains gets gradients from maps and image scores."""
    losses = '{segmentation={use="segmentation"}, image={use="image_cross_entropy"}}'
    own = (*OWN, "prompts.projection=backbone", "scheduler.use=single", "scheduler.train=text", "scheduler.epochs=1")
    run = build(small_experiment, *own, f"losses.text={losses}", "losses.vision={}")
    before = {name: value.detach().clone() for name, value in run.model.all_trained_parameters().items()}
    assert list(before) == ["prompts.projection.weight"]
    plan: PhasePlan = plan_for("text", attention=False)
    assert all(step.loss > 0 for step in train(run, plan))
    assert all((run.model.all_trained_parameters()[name] != value).any() for name, value in before.items())


@pytest.mark.parametrize("scales", [[], [0], [3, 2], [2, 2], [2.5]])
def test_scales_are_ascending_sides(scales: list[int]) -> None:
    with pytest.raises(ValidationError, match="scales"):
        WinClipOptions(scales=scales)


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_temperatures_are_above_nought_and_at_most_one(temperature: float) -> None:
    with pytest.raises(ValidationError, match="temperature"):
        WinClipOptions(temperature=temperature)
