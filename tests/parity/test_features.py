"""Frozen and trained features, and both image passes."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..build import untouched_features
from .goldens import Goldens
from .keys import Group
from .rebuilt import BOTH, Rebuilt


def by_level(levels: dict[int, Tensor]) -> dict[str, Any]:
    return {f"level{level}": features for level, features in levels.items()}


def test_frozen_features(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    found = untouched_features(rebuilt.base, rebuilt.images)
    goldens.compare(group, {**by_level(found.levels), "cls": found.detection})


def test_image_pass(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    if "without" in group.name:
        found = rebuilt.without_attention
    else:
        padding = "masked" if group.name.endswith("padding_masked") else "attended"
        model = rebuilt.model(f"switches.text_context_padding={padding}")
        found = model.image_features(rebuilt.images, rebuilt.classes, attention=True)
    goldens.compare(group, {**by_level(found.levels), "det": found.detection})


def test_trained_features(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    seen, context = rebuilt.base.text_phase_inputs(rebuilt.images, rebuilt.classes, trained=True, attending=BOTH)
    goldens.compare(group, {**by_level(seen.levels), "image_context": context})
