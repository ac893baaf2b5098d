"""The head `projections`: where its training starts, its features, maps and scores against written-out formulas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from aaclip_kit_plugins.projections.head import BLUR, Projections, level_grid, similarity_grid
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn.functional import leaky_relu, normalize

from aaclip_kit import Domain, ImageFeatures, ImageTokens, softmax_maps
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble

from ..build import build, head_of, images_for, text_of, untouched_features
from ..helpers import assert_close, bilinear

DOMAINS: tuple[Domain, ...] = ("industrial", "medical")


def fresh(path: Path, *overrides: str) -> Run:
    return assemble(load(path, discover(), overrides))


@pytest.fixture
def head(small_experiment: Path) -> Projections:
    """A head of two levels."""
    return head_of(fresh(small_experiment, "model.levels=[2, 5]").model)


def features(batch: int = 3, side: int = 8, width: int = 6) -> tuple[ImageFeatures, Tensor]:
    """Patches of two levels, detection and text features, of the size that unit features have."""
    generator = torch.Generator().manual_seed(0)
    levels = {level: torch.randn(batch, side * side, width, generator=generator) / 10 for level in (2, 5)}
    detection = torch.randn(batch, width, generator=generator) / 3
    return ImageFeatures(levels, detection), torch.randn(batch, width, 2, generator=generator) / 3


def tokens(*levels: int) -> ImageTokens:
    generator = torch.Generator().manual_seed(2)
    return ImageTokens({level: torch.randn(2, 16, 32, generator=generator) for level in levels})


def test_as_published_projections_are_drawn_by_the_seed(small_experiment: Path) -> None:
    one, same, other = (head_of(fresh(small_experiment, f"seed={seed}").model) for seed in (3, 3, 4))
    for name, weight in one.state_dict().items():
        assert torch.equal(weight, same.state_dict()[name])
        assert not torch.equal(weight, other.state_dict()[name])


@torch.no_grad()
def test_the_backbones_own_projection_is_where_training_starts(small_experiment: Path) -> None:
    model = fresh(small_experiment, "head.start=backbone").model
    read = tokens(*model.levels)
    found = model.head.features(read)
    for level, of in read.levels.items():
        assert_close(found.levels[level], normalize(model.backbone.project_image(of), dim=-1), atol=1e-5)
    assert found.detection is not None
    assert_close(found.detection, found.levels[8].mean(1), atol=1e-5)


@torch.no_grad()
def test_without_stages_and_training_the_trained_features_are_the_untouched_ones(small_experiment: Path) -> None:
    idle = [f"stages.{name}.scale=0" for name in ("text_to_image", "image_to_text")]
    idle += [f"stages.{name}.weight=0" for name in ("text_adapter", "vision_adapter")]
    starts = ("head.start=backbone", "prompts.projection=backbone")
    run = fresh(small_experiment, *starts, "backbone.surgery_blocks=0", *idle)
    images, classes = images_for(run, 1), ("green_wood",)
    found, untouched = run.model.image_features(images, classes, attention=False), untouched_features(run.model, images)
    assert untouched.detection is not None
    for level, patches in found.levels.items():
        assert_close(patches + untouched.detection[:, None], untouched.levels[level], atol=1e-5)
    text = text_of(run.model)
    assert_close(text.class_features(classes), text.untrained_features(classes), atol=1e-5)


@pytest.mark.parametrize("active", [True, False])
def test_the_activation_acts_on_segmentation_and_detection(small_experiment: Path, active: bool) -> None:
    head = head_of(build(small_experiment, f"head.activation={str(active).lower()}").model)
    read = tokens(4, 8)
    found = head.features(read)
    weights = head.state_dict()

    def expected(name: str, level: int) -> Tensor:
        projected = read.levels[level] @ weights[f"{name}.linear.weight"].T
        return normalize(leaky_relu(projected, 0.01) if active else projected, dim=-1)

    assert list(found.levels) == [4, 8] and found.detection is not None
    for level in (4, 8):
        assert_close(found.levels[level], expected(f"segmentation.{level}", level))
    assert_close(found.detection, expected("detection", 8).mean(1))


def test_the_grid_holds_a_hundred_times_each_similarity() -> None:
    found, text = features(side=3)
    grid = similarity_grid(found.levels[2], text)
    for image in range(3):
        for channel in range(2):
            for row in range(3):
                for column in range(3):
                    similarity = float(found.levels[2][image, row * 3 + column] @ text[image, :, channel])
                    assert_close(grid[image, channel, row, column], 100 * similarity)


def test_losses_see_the_softmax_at_every_pixel_and_the_products_with_the_detection_feature(head: Projections) -> None:
    found, text = features()
    assert found.detection is not None
    for level, probabilities in head.level_probabilities(found, text, 20).items():
        assert_close(probabilities, softmax_maps(similarity_grid(found.levels[level], text), 20))
    logits = [[float(of @ text[image, :, column]) for column in (0, 1)] for image, of in enumerate(found.detection)]
    assert_close(head.detection_logits(found, text), torch.tensor(logits))


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize("smooth", [True, False])
def test_scores_equal_the_written_out_formula(head: Projections, domain: Domain, smooth: bool) -> None:
    of, text = features()
    found = head.score(of, text, 20, domain, smooth)
    side, sigma = BLUR[domain]
    assert of.detection is not None
    for image in range(3):
        normal, abnormal = text[image].T.double()
        total = np.zeros((20, 20))
        for patches in of.levels.values():
            cosines = [(100 * patch @ abnormal) + 1 - (100 * patch @ normal) for patch in patches[image].double()]
            grid = np.array(cosines).reshape(8, 8) / 2
            total += bilinear(gaussian_filter(grid, sigma, mode="mirror", radius=side // 2) if smooth else grid, 20)
        assert_close(found.maps[image].double(), torch.from_numpy(total), rtol=1e-5, atol=1e-5)
        assert_close(found.map_peak[image], float(total.max()), atol=1e-5)
        assert_close(found.detection[image], (float(of.detection[image].double() @ abnormal) + 1) / 2)


def test_medical_maps_are_smoother_than_industrial_ones(head: Projections) -> None:
    found, text = features()

    def roughness(domain: Domain, smooth: bool = True) -> float:
        return float(head.score(found, text, 8, domain, smooth).maps.diff(dim=-1).square().mean())

    assert roughness("medical") < roughness("industrial") < roughness("medical", smooth=False)


def test_half_precision_features_are_scored_in_single_precision(head: Projections) -> None:
    found, text = features()
    assert found.detection is not None
    rounded = ImageFeatures({n: of.bfloat16() for n, of in found.levels.items()}, found.detection.bfloat16())
    again = ImageFeatures({n: of.float() for n, of in rounded.levels.items()}, found.detection.bfloat16().float())
    half = head.score(rounded, text.bfloat16(), 20, "medical", True)
    whole = head.score(again, text.bfloat16().float(), 20, "medical", True)
    assert half.maps.dtype == half.detection.dtype == torch.float32
    assert_close(half.maps, whole.maps)
    assert_close(half.detection, whole.detection)


def test_similarities_stay_in_single_precision_under_autocast(head: Projections) -> None:
    found, text = features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = head.level_probabilities(found, text, 7)
    assert_close(under_autocast[2], head.level_probabilities(found, text, 7)[2])


def test_map_probability_is_the_softmax_of_the_mean_similarities(head: Projections) -> None:
    """For one patch without blur, the probability that a loss would see if all levels agreed."""
    found, text = features(side=1)
    grids = [level_grid(found.levels[2], text, "industrial", smooth=False) for _ in range(2)]
    logits = (100 * found.levels[2] @ text)[:, 0]
    assert_close(head.map_probability(torch.stack(grids).sum(0)[:, 0, 0]), logits.softmax(-1)[:, 1])


def test_a_picture_is_of_the_middle_colour_where_normal_and_abnormal_are_alike(head: Projections) -> None:
    found, text = features()
    alike = text[..., :1].expand(-1, -1, 2)
    assert_close(head.score(found, alike, 8, "industrial", True).maps, torch.full((3, 8, 8), sum(head.shown) / 2))
