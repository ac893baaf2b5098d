"""Where training starts: projections that are drawn, or the backbone's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from aaclip_kit.contracts.backbone import text_tower
from aaclip_kit.experiment import load
from aaclip_kit.model.heads import SLOPE
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble

from ..build import images_for
from ..helpers import assert_close


def fresh(path: Path, *overrides: str) -> Run:
    return assemble(load(path, discover(), overrides))


def test_the_backbones_own_projections_are_where_training_starts(small_experiment: Path) -> None:
    model = fresh(small_experiment, "model.projections=backbone").model
    tokens = torch.randn(2, 5, model.backbone.vision.width)
    own = functional.normalize(model.backbone.project_image(tokens), dim=-1)
    for level in model.levels:
        assert_close(model.heads.patches(level, tokens), own, atol=1e-5)
    assert_close(model.heads.detect(tokens), own.mean(1), atol=1e-5)
    text = torch.randn(3, text_tower(model.backbone).width)
    assert_close(model.heads.text(text), model.backbone.project_text(text), atol=1e-5)


@torch.no_grad()
def test_without_stages_and_training_the_trained_features_are_the_frozen_ones(small_experiment: Path) -> None:
    idle = [f"stages.{name}.scale=0" for name in ("text_to_image", "image_to_text")]
    idle += [f"stages.{name}.weight=0" for name in ("text_adapter", "vision_adapter")]
    run = fresh(small_experiment, "model.projections=backbone", "backbone.surgery_blocks=0", *idle)
    images, classes = images_for(run, 1), ("green_wood",)
    features = run.model.image_features(images, classes, attention=False)
    frozen = run.model.image.frozen(images, run.model.levels)
    for level, patches in features.levels.items():
        assert_close(patches + frozen.detection[:, None], frozen.levels[level], atol=1e-5)
    assert_close(run.model.text.class_features(classes), run.model.text.frozen_features(classes), atol=1e-5)


@pytest.mark.parametrize("overrides", [(), ("model.projections=random",)])
def test_as_published_they_are_drawn_and_the_texts_has_an_activation(
    small_experiment: Path, overrides: tuple[str, ...]
) -> None:
    model = fresh(small_experiment, *overrides).model
    other = fresh(small_experiment, "seed=4").model
    assert not torch.equal(model.heads.text.linear.weight, other.heads.text.linear.weight)
    text = torch.randn(3, text_tower(model.backbone).width)
    expected = functional.leaky_relu(model.heads.text.linear(text), SLOPE)
    assert_close(model.heads.text(text), expected)
