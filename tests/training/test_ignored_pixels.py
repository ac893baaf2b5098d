"""Pixels that a mask leaves out: no loss learns from them, and nothing changes where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from aaclip_kit import Loss, TowerName
from aaclip_kit.run.assemble import Run
from aaclip_kit.training.losses import WeightedLosses
from aaclip_kit.training.phase import _agreeing

from ..build import build, phase_for, plan_for
from ..conftest import write_class
from ..helpers import assert_close


class CrossEntropy(Loss):
    """A stranger's loss, which has never heard of pixels that are left out."""

    needs = ("level_probabilities", "masks")

    def forward(self, *, level_probabilities: dict[int, Tensor], masks: Tensor) -> dict[str, Tensor]:
        maps = torch.stack(list(level_probabilities.values())).float()
        return {"bits": -(masks[:, 0] * maps[:, :, 1].log() + (1 - masks[:, 0]) * (1 - maps[:, :, 1]).log()).mean()}


@pytest.fixture
def run(small_experiment: Path, tmp_path: Path) -> Run:
    """The small run, whose masks are 1 with rows of 255 above."""
    root = tmp_path / "data"
    write_class(root, "red_cloth", 0, seed=0)
    for file in (root / "red_cloth" / "ground_truth").rglob("*.png"):
        mask = (np.asarray(Image.open(file).convert("L")) > 0).astype(np.uint8)
        mask[:5] = 255
        Image.fromarray(mask).save(file)
    return build(small_experiment, "switches.dropout=false", f"data.train.root={root}", "data.train.ignore=255")


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_losses_see_agreement_where_pixels_are_left_out(run: Run, tower: TowerName) -> None:
    losses = WeightedLosses({"own": (CrossEntropy(), 1.0)})
    phase = phase_for(run, plan_for(tower, batch_size=8), losses)
    (batch,) = phase.batches.epoch(1)
    assert batch.ignored is not None and batch.ignored.any()
    assert set(batch.masks.unique().tolist()) == {0.0, 1.0} and not batch.masks[batch.ignored].any()
    with phase.open():
        named = phase._named(batch, phase.fixed_inputs(batch))
    maps = named["level_probabilities"]
    assert isinstance(maps, dict)
    for one in maps.values():
        (left_out,) = one.permute(0, 2, 3, 1)[batch.ignored[:, 0]].unique(dim=0)
        assert_close(left_out, torch.tensor([1 - 1e-5, 1e-5]))


def test_left_out_pixels_have_constants_that_any_loss_can_take() -> None:
    logits = torch.randn(2, 2, 4, 4, requires_grad=True)
    ignored, masks = torch.zeros(2, 1, 4, 4, dtype=torch.bool), torch.zeros(2, 1, 4, 4)
    ignored[:, :, :2] = True
    maps = _agreeing({6: logits.softmax(dim=1)}, ignored)
    (term,) = CrossEntropy()(level_probabilities=maps, masks=masks).values()
    term.backward()
    assert term.isfinite() and logits.grad is not None and logits.grad.isfinite().all()
    assert not logits.grad[:, :, :2].any() and logits.grad[:, :, 2:].all()
