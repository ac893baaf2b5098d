"""The stated operation counts against those that torch counts while the engine runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from aaclip_kit.model.windows import window_embeddings
from aaclip_kit.training.losses import total

CORRECTED = "profile=corrected"


def counted(work: Any) -> float:
    """Operations of a call, attention counted as the matrix products that it is of."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work()
    return float(counter.get_total_flops())


def near(stated: float, found: float) -> None:
    """The blur's convolutions and other small change are not stated."""
    assert found == pytest.approx(stated, rel=0.01)


@pytest.mark.parametrize("tower", ["text", "vision"])
@pytest.mark.parametrize("profile", [(), (CORRECTED, "switches.dropout=false")], ids=["published", "corrected"])
def test_a_step(script: Any, tiny: Any, tower: str, profile: tuple[str, ...]) -> None:
    workload, run = script("workload"), tiny().assembled(*profile)
    operations = script("operations").Operations(run.model, run.data.sets["train"].classes)
    phase = workload.phase_of(run, tower, 1)
    batch = workload.first_batch(phase)
    with phase.open():
        image = counted(lambda: phase.fixed_inputs(batch))
        seen = phase.fixed_inputs(batch)
        rest = counted(lambda: total(phase.terms(batch, seen)).backward())
    if tower == "vision":
        near(operations.stage2(4), rest)
    else:
        near(operations.stage1(4, cached=True), rest)
        near(operations.stage1(4, cached=False) - operations.stage1(4, cached=True), image)


@pytest.mark.parametrize("attention", [False, True])
def test_scoring(script: Any, tiny: Any, attention: bool) -> None:
    workload, run = script("workload"), tiny().assembled()
    operations = script("operations").Operations(run.model, (workload.SCORED,))
    images = torch.randn(4, 3, 32, 32)
    classes = (workload.SCORED,) * 4
    text = run.model.text.class_features((workload.SCORED,))

    def scored() -> None:
        found = run.model.image_features(images, classes, attention)
        for patches in found.levels.values():
            patches @ text

    with torch.no_grad():
        near(operations.scoring(4, attention), counted(scored))


@pytest.mark.parametrize("side", [1, 2, 3])
@torch.no_grad()
def test_windows(script: Any, tiny: Any, side: int) -> None:
    backbone = tiny().assembled().model.backbone
    embedded = backbone.embed_image(torch.randn(2, 3, 32, 32))
    near(
        2 * script("operations").all_windows(backbone, side).forward,
        counted(lambda: window_embeddings(backbone, embedded, side)),
    )
