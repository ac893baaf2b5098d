"""Softmax map of each image's own class; anomaly maps and image score of the batch taken as the first class."""

from __future__ import annotations

from aaclip_kit import Domain, Scores

from .goldens import Goldens
from .keys import Group
from .rebuilt import Rebuilt


def first_class(rebuilt: Rebuilt) -> str:
    name: str = rebuilt.info["classes"][0]
    return name


def scores(rebuilt: Rebuilt, domain: Domain) -> Scores:
    found = rebuilt.without_attention
    text = rebuilt.base.text_features((first_class(rebuilt),) * len(rebuilt.images), None)
    return rebuilt.base.head.score(found, text, rebuilt.images.shape[-1], domain, True)


def test_softmax_map(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    level, text = int(group.name.removeprefix("softmax_map_level")), rebuilt.base.text_features(rebuilt.classes, None)
    maps = rebuilt.base.head.level_probabilities(rebuilt.without_attention, text, rebuilt.images.shape[-1])
    goldens.compare(group, {"": maps[level]})


def test_anomaly_map(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    domain: Domain = "medical" if group.name.endswith("medical") else "industrial"
    goldens.compare(group, {first_class(rebuilt): scores(rebuilt, domain).maps})


def test_image_score(group: Group, rebuilt: Rebuilt, goldens: Goldens) -> None:
    goldens.compare(group, {first_class(rebuilt): scores(rebuilt, "industrial").detection})
