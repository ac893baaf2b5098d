"""The naive steps of published methods have the engine's losses and gradients; ratios are held to what is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from aaclip_kit.training.losses import total

from ..helpers import assert_close, gradient_of

METHODS = ("anomaly_clip",)
TINY = ("backbone.activation=auto", "model.levels=[2, 4, 6, 8]")


@pytest.mark.parametrize("name", METHODS)
def test_a_naive_step_has_the_engines_loss_and_gradients(name: str, script: Any, tiny_clip: Path) -> None:
    family = script("family")
    with family.assembled(name, f"backbone.model={tiny_clip}", *TINY, size=32) as run:
        naive, phase = family.METHODS[name](run), family.phase_of(run, 1)
        (batch,) = phase.batches.epoch(1)
        found = []
        with phase.open() as parameters:
            for loss in (lambda: total(phase.terms(batch, phase.fixed_inputs(batch))), lambda: naive.loss(batch)):
                value = loss()
                value.backward()
                found.append((value.item(), {name: gradient_of(one).clone() for name, one in parameters.items()}))
                for one in parameters.values():
                    one.grad = None
    (own, own_gradients), (other, other_gradients) = found
    assert_close(own, other)
    for key, gradient in own_gradients.items():
        assert gradient.any()
        # Single elements are small sums of large ones.
        assert_close(gradient, other_gradients[key], atol=1e-3 * float(gradient.abs().max()))


def test_later_epochs_take_their_features_from_the_store(script: Any, tiny_clip: Path, monkeypatch: Any) -> None:
    family = script("family")
    with family.assembled("anomaly_clip", f"backbone.model={tiny_clip}", *TINY, size=32) as run:
        seen: list[int] = []
        inner = run.model.backbone.embed_image

        def counted(images: Tensor) -> Tensor:
            seen.append(len(images))
            return inner(images)

        monkeypatch.setattr(run.model.backbone, "embed_image", counted)
        laps = family.Laps(family.Clock(run.compute_device.device))
        family.train_phase(family.phase_of(run, 4), laps)
    assert len(laps.seconds) == 4 and len(seen) == 2, "eight images go through the tower once, four at a time"


def test_a_missed_ratio_is_counted_and_told(script: Any, capsys: pytest.CaptureFixture[str]) -> None:
    family = script("family")
    assert family.report("some", family.Epochs([8.0], [0.3], [10.0], [5.0])) == 0
    assert family.report("other", family.Epochs([9.0], [0.6], [10.0], [5.0])) == 2
    lines = capsys.readouterr().out.splitlines()
    assert "naive 10.00 s, 2.00 forward passes" in lines[0]
    assert lines[1].split()[-1] == "reached" and "33.33 x naive" in lines[2]
    assert [line.split()[-1] for line in lines[4:]] == ["MISSED", "MISSED"]
