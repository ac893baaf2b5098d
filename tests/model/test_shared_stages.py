"""A stage that is one for all its sites: one set of weights, told each site, with gradients from all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from aaclip_kit import AttentionStage, Context, StageSetting
from aaclip_kit.checkpoints.checkpoint import load_into, save
from aaclip_kit.checkpoints.provenance import Metadata
from aaclip_kit.report.attention_maps import attention_record
from aaclip_kit.run.assemble import Run

from ..build import images_for, plan_for, train, with_parts
from ..helpers import assert_close
from ..report.given import shown

GAIN = "sites.stages.vision_adapter.gain"


class Shared(AttentionStage):
    """Multiplies tokens by a gain of each site."""

    one_for_all_sites = True

    def __init__(self, setting: StageSetting) -> None:
        super().__init__()
        self.setting = setting
        self.gain = nn.Parameter(1 + torch.linspace(-0.3, 0.3, 3 * setting.width).reshape(3, setting.width))

    def forward(self, tokens: Tensor, context: Context | None, site: int = -9) -> Tensor:
        return tokens * self.gain[site + 1]


@pytest.fixture
def run(small_experiment: Path) -> Run:
    sites = "stages.vision_adapter.after=[1, -1, 0]"
    return with_parts(small_experiment, sites, stages={"vision_adapter": lambda _, setting: Shared(setting)})


def shared_of(run: Run) -> Shared:
    (found,) = {stage for _, name, stage in run.model.slots.of("vision") if name == "vision_adapter"}
    assert isinstance(found, Shared)
    return found


def test_one_module_acts_at_all_its_sites_and_is_told_which(run: Run) -> None:
    assert [at for at, name, _ in run.model.slots.of("vision") if name == "vision_adapter"] == [-1, 0, 1]
    stage, backbone, images = shared_of(run), run.model.backbone, images_for(run, 2)
    assert stage.setting.after == -1
    x = backbone.embed_image(images) * stage.gain[0]
    for block in range(2):
        x = backbone.vision_block(block, x) * stage.gain[block + 1]
    tokens = run.model.image.read(images, run.model.head.reads, (2,), {})
    assert_close(tokens.levels[2], backbone.finish_vision(x)[:, 1:])


def test_its_weights_are_there_once_and_take_gradients_from_every_site(run: Run) -> None:
    names = [name for name in run.model.trained_parameters("vision") if "vision_adapter" in name]
    assert names == [GAIN]
    (step,) = train(run, plan_for("vision", batch_size=8))
    gradient = shared_of(run).gain.grad
    assert gradient is not None and (gradient.abs().amax(dim=1) > 0).all()
    assert_close(step.gradient_norms["vision_adapter"], float(gradient.norm()))


def test_a_checkpoint_has_its_weights_under_its_name(run: Run, tmp_path: Path) -> None:
    path, stage = tmp_path / "one.safetensors", shared_of(run)
    before = stage.gain.detach().clone()
    save(run.model, path, Metadata())
    assert torch.equal(load_file(path)[GAIN], before)
    with torch.no_grad():
        stage.gain.zero_()
    assert load_into(run.model, path) == []
    assert torch.equal(stage.gain, before)


class Looking(Shared):
    """Attends to the words, more to the first of them the further back its site."""

    context_kind = "text"

    def attention_weights(self, tokens: Tensor, context: Context, site: int = -9) -> Tensor:
        words = context.tokens.shape[1]
        weights = torch.full((words,), 1.0)
        weights[0] += site
        return (weights / weights.sum()).expand(len(tokens), 1, tokens.shape[1], words)


def test_the_report_shows_where_it_looks_at_each_site(small_experiment: Path) -> None:
    factory = {"image_to_text": lambda _, setting: Looking(setting)}
    options = ("stages.image_to_text.after=[0, 1]", "switches.text_context_padding=attended")
    run = with_parts(small_experiment, *options, stages=factory)
    found: dict[str, Any] = attention_record(run.model, [shown(run)], {"vision"})
    entries = [entry for entry in found["stages"] if entry["stage"] == "image_to_text"]
    assert [(entry["block"], entry["reason"]) for entry in entries] == [(0, None), (1, None)]
    start = [entry["cases"][0]["looks"]["other patches"]["words"]["(start)"] for entry in entries]
    # Of 16 prompts, one begins with the word that is looked at twice as much as the others.
    assert_close(start[0], 1.0, rtol=0, atol=1e-3)
    assert start[1] > start[0] + 0.05
