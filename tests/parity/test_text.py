"""Text features with and without image context, and the text context of stage 2."""

from __future__ import annotations

from torch import Tensor

from ..build import text_of
from .goldens import Goldens
from .keys import Group
from .rebuilt import BOTH, Rebuilt


def image_context(rebuilt: Rebuilt) -> Tensor:
    """What stage 1 attends to in loop 1."""
    context = rebuilt.base.text_phase_inputs(rebuilt.images, rebuilt.classes, trained=False, attending=BOTH)[1]
    assert context is not None
    return context


def test_text_features_without_image_context(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    classes = tuple(goldens.info["classes"])
    goldens.compare(group, dict(zip(classes, rebuilt.base.text_features(classes, None), strict=True)))


def test_text_features_with_the_mean_context_of_the_batch(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    context = image_context(rebuilt)
    features = {
        name: rebuilt.base.text_features((name,) * len(context), context)[0] for name in goldens.info["classes"]
    }
    goldens.compare(group, features)


def test_text_features_with_each_images_own_context(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    features = rebuilt.base.text_features(rebuilt.classes, image_context(rebuilt))
    goldens.compare(group, {f"image{number}": feature for number, feature in enumerate(features)})


def test_text_context(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    classes = tuple(goldens.info["classes"])
    context = text_of(rebuilt.base).text_context(classes, padding=True)
    goldens.compare(group, dict(zip(classes, context.tokens, strict=True)))
