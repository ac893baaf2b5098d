"""The naive steps and scores have the engine's losses, gradients and maps where the profile is `published`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from aaclip_kit_plugins.open_clip.backbone import OpenClipBackbone

from aaclip_kit import TowerName
from aaclip_kit.data import loader as batches
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.run.assemble import Run
from aaclip_kit.training.losses import total

from ..build import move_weights
from ..helpers import assert_close

STRONG = ("stages.text_to_image.scale=0.7", "stages.image_to_text.scale=0.7")


@pytest.fixture
def run(tiny: Any) -> Run:
    run: Run = tiny().assembled(*STRONG)
    move_weights(run.model)
    return run


def engine_step(script: Any, run: Run, tower: TowerName) -> tuple[Any, float, dict[str, torch.Tensor]]:
    """A batch, and the objective and gradients that the engine has for it."""
    workload = script("workload")
    phase = workload.phase_of(run, tower, 1)
    batch = workload.first_batch(phase)
    with phase.open() as parameters:
        loss = total(phase.terms(batch, phase.fixed_inputs(batch)))
        loss.backward()
        gradients = {name: weight.grad.clone() for name, weight in parameters.items()}
        for weight in parameters.values():
            weight.grad = None
    return batch, loss.item(), gradients


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_a_step_is_the_engines(script: Any, run: Run, tower: TowerName) -> None:
    batch, loss, gradients = engine_step(script, run, tower)
    naive = script("naive").Naive(run)
    assert_close(naive.step(tower, batch), loss)
    with naive.all_gradients():
        (naive.stage1(batch) if tower == "text" else naive.stage2(batch)).backward()
        for name, weight in run.model.trained_parameters(tower).items():
            # Summed over other batches of rows than the engine's, in float32.
            assert_close(weight.grad, gradients[name], rtol=1e-3, atol=1e-5)


def test_frozen_weights_take_gradients_in_a_step_and_lose_them_after_it(script: Any, run: Run) -> None:
    batch, _, _ = engine_step(script, run, "vision")
    naive, backbone = script("naive").Naive(run), run.model.backbone
    assert isinstance(backbone, OpenClipBackbone)
    with naive.all_gradients():
        naive.stage2(batch).backward()
        frozen = dict(backbone.clip.visual.transformer.named_parameters())
        assert frozen and all(weight.grad is not None for weight in frozen.values())
    assert not any(weight.requires_grad or weight.grad is not None for weight in run.model.parameters())


def test_scores_are_the_evaluators(script: Any, run: Run) -> None:
    workload = script("workload")
    data, file = workload.scored_data(run), run.experiment.file
    switches = run.experiment.switches
    evaluator = Evaluator(run.model, run.compute_device, run.pixels, table=file.evaluation, switches=switches)
    found = next(iter(evaluator.scored_batches(data, workload.SCORED, {"text", "vision"}, trained=True)))
    images = next(iter(batches.test_batches(found.samples, run.pixels, len(found.samples)))).images
    naive = script("naive").Naive(run)
    with torch.no_grad():
        scores = naive.scores(images, naive.text_feature(workload.SCORED, None))
    assert_close(scores.maps, found.maps, rtol=1e-4, atol=1e-4)
    assert_close(scores.detection, found.detection)


def test_every_attention_has_its_weights(script: Any) -> None:
    q, k, v = torch.randn(3, 2, 5, 8, generator=torch.Generator().manual_seed(0))
    attended, weights = script("naive")._attention(q, k, v, heads=2, causal=True)
    assert weights.shape == (2, 2, 5, 5)
    assert_close(weights.sum(dim=-1), torch.ones(2, 2, 5))
    assert not weights.triu(1).any()
    assert_close(attended[:, 0], v[:, 0])
