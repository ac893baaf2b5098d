"""Which test covers which goldens, and how closely it must agree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

Profile = Literal["published", "corrected"]
PROFILES: tuple[Profile, ...] = get_args(Profile)

COVERED = {
    "test_frozen_features": r"frozen",
    "test_text_features_without_image_context": r"text",
    "test_text_features_with_the_mean_context_of_the_batch": r"text_with_batch_mean_image_context",
    "test_text_features_with_each_images_own_context": r"text_with_own_image_context",
    "test_text_context": r"text_context",
    "test_image_pass": r"image_(with|without)_cross_attention(_padding_masked)?",
    "test_trained_features": r"trained",
    "test_softmax_map": r"softmax_map_level\d+",
    "test_anomaly_map": r"anomaly_map_(industrial|medical)",
    "test_image_score": r"image_score",
    "test_stage_1": r"stage1",
    "test_stage_2": r"stage2_scale[\d.]+_(normmatched|raw)",
    "test_stage_2_without_cross_attention": r"stage2_without_cross_attention",
    "test_stage_2_trajectory": r"stage2",
    "test_published_evaluation": r"metrics",
}
"""Name of a test to the groups of goldens that it compares, every key of the group."""

KINDS = {
    "gradients": r"/grad/|adapter_grad_norm",
    "trajectory": r"adam_steps",
    "losses": r"/stage\d",
    "metrics": "metrics",
}
TOLERANCES = {"gradients": 1e-3, "trajectory": 1e-3, "losses": 1e-4, "metrics": 0.01, "activations": 1e-4}
"""Relative, except for metrics: those are in percent, and so is their tolerance."""

DIGEST = "/digest"
"""Ends the key of an array's digest, which is made under the array's whole key."""

GRADIENT = "/grad/"
"""Before the name of a parameter whose gradient's digest is stored alone; it is made under that name."""


@dataclass(frozen=True)
class Group:
    """Goldens that one computation gives: those under `prefix`, made in `profile`."""

    prefix: str
    name: str
    profile: Profile

    @property
    def test(self) -> str | None:
        """The test that covers the group."""
        return next((test for test, pattern in COVERED.items() if re.fullmatch(pattern, self.name)), None)


def group_of(key: str) -> Group:
    """The group of a key: its profile and the next part, or the first part where it has no profile."""
    first, *rest = key.split("/")
    for profile in PROFILES:
        if first == profile and rest:
            return Group(f"{first}/{rest[0]}", rest[0], profile)
    return Group(first, first, "published")


def groups_of(keys: Iterable[str]) -> list[Group]:
    """Every group, in the order of the file."""
    return list(dict.fromkeys(group_of(key) for key in keys))


def kind_of(key: str) -> str:
    """What sort of quantity it is, which sets its tolerance."""
    return next((kind for kind, pattern in KINDS.items() if re.search(pattern, key)), "activations")


def scale_key(key: str) -> str:
    """The golden whose norm a gradient's difference is measured by: its own, with one exception.

    A constant added to every key of an attention changes nothing, so the gradient of the key's bias is zero and its
    golden holds rounding errors only; they are measured by the gradient of the key's weight.
    """
    return key.replace("k_proj.bias", "k_proj.weight")
