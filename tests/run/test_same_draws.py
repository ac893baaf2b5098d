"""Runs that compute the same have the same bits: what a module draws hangs on the seed and on its own name alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from aaclip_kit.data.loader import TrainBatches
from aaclip_kit.distributed.random_streams import drawn_for, own_draws, step_draws
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble

from ..build import run_file

IDLE = '''
import torch
from aaclip_kit import AttentionStage, Loss, Options, StageOptions, hookimpl

class IdleOptions(StageOptions):
    """Changes nothing, and draws."""

class Idle(AttentionStage):
    context_kind = "none"

    def __init__(self, options, setting):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(setting.width))

    def forward(self, tokens, context):
        torch.rand(3)
        return tokens + 0 * self.weight

class NoiseOptions(Options):
    """Draws."""

class Noise(Loss):
    needs = ("level_probabilities",)
    over_batch = "mean"

    def __init__(self, options):
        super().__init__()

    def forward(self, *, level_probabilities):
        return {"noise": sum((found * torch.rand(())).mean() for found in level_probabilities.values())}

@hookimpl
def register_attention_stages(register):
    register("idle", Idle, IdleOptions)

@hookimpl
def register_losses(register):
    register("noise", Noise, NoiseOptions)
'''

STAGES = {
    "text_to_image": 'use = "text_to_image"',
    "image_to_text": 'use = "image_to_text"',
    "text_adapter": 'use = "residual_adapter"\ntower = "text"\nafter = [0, 1, 2]',
    "vision_adapter": 'use = "residual_adapter"\ntower = "vision"\nafter = [0, 1]',
}
IDLE_STAGES = {
    "idle": 'use = "idle"\ntower = "vision"\nafter = [1, 0]',
    "idle_text": 'use = "idle"\ntower = "text"\nafter = [0]',
}
V2 = ("scheduler.use=v2", "scheduler.loops=2", "scheduler.text_epochs=1", "scheduler.image_epochs=2",
      "scheduler.text_batch=4", "scheduler.image_batch=4", "scheduler.clip_norm=0.01")  # fmt: skip
NO_ATTENTION = ("scheduler.attention_from_loop=3",)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aaclip_kit.run.loop.write_report", lambda folder: folder)
    monkeypatch.setattr("aaclip_kit.run.loop.save_pictures", lambda *parts, **named: None)


def with_stages(small_experiment: Path, stages: dict[str, str], name: str = "other") -> Path:
    head, _, rest = small_experiment.read_text().partition("[stages.text_to_image]")
    plugin = small_experiment.with_name("idle.py")
    plugin.write_text(IDLE)
    tables = "".join(f"[stages.{stage}]\n{text}\n" for stage, text in stages.items())
    path = small_experiment.with_name(f"{name}.toml")
    rest = rest[rest.index("[losses.text.segmentation]") :]
    path.write_text(f'plugins = ["idle.py"]\n{head}{tables}{rest}')
    return path


def outcome(file: Path, out: Path, *overrides: str) -> tuple[bytes, dict[str, torch.Tensor], list[tuple[Any, Any]]]:
    run_file(file, out, *V2, *overrides)
    events = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    steps = [(event["loss"], event["terms"]) for event in events if event["event"] == "step"]
    return (out / "metrics.json").read_bytes(), load_file(out / "checkpoints/loop_2.safetensors"), steps


def test_a_stage_that_does_nothing_changes_no_bit(tmp_path: Path, small_experiment: Path) -> None:
    plain = outcome(small_experiment, tmp_path / "plain")
    idle = outcome(with_stages(small_experiment, {**IDLE_STAGES, **STAGES}), tmp_path / "idle")
    assert idle[0] == plain[0]
    assert idle[2] == plain[2]
    assert all(torch.equal(idle[1][name], value) for name, value in plain[1].items())
    assert len(idle[1]) == len(plain[1]) + 3


@pytest.mark.slow
def test_stages_of_which_none_acts_may_stand_in_any_order_under_any_name(
    tmp_path: Path, small_experiment: Path
) -> None:
    plain = outcome(small_experiment, tmp_path / "plain", *NO_ATTENTION)
    stages = {name: STAGES[name] for name in ("image_to_text", "vision_adapter", "text_adapter")}
    moved = with_stages(small_experiment, {"another": STAGES["text_to_image"], **stages})
    other = outcome(moved, tmp_path / "moved", *NO_ATTENTION)
    fewer = outcome(with_stages(small_experiment, stages), tmp_path / "fewer", *NO_ATTENTION)
    for found in (other, fewer):
        assert found[0] == plain[0]
        assert found[2] == plain[2]


@pytest.mark.slow
def test_a_stage_of_scale_0_that_is_drawn_first_changes_no_bit(tmp_path: Path, small_experiment: Path) -> None:
    stages = {name: STAGES[name] for name in ("text_to_image", "text_adapter", "vision_adapter")}
    plain = outcome(with_stages(small_experiment, stages), tmp_path / "plain")
    nothing = {"nothing": 'use = "image_to_text"\nscale = 0.0'}
    scaled = outcome(with_stages(small_experiment, {**nothing, **stages}), tmp_path / "scaled")
    assert scaled[0] == plain[0]
    assert scaled[2] == plain[2]


@pytest.mark.slow
def test_a_loss_that_draws_moves_no_other_draw(tmp_path: Path, small_experiment: Path) -> None:
    file = with_stages(small_experiment, STAGES)
    noisy = ("losses.vision.noise.use=noise", "losses.text.noise.use=noise", "losses.vision.noise.weight=1e-30")
    plain = outcome(file, tmp_path / "plain")
    with_noise = outcome(file, tmp_path / "noisy", *noisy, "losses.text.noise.weight=1e-30")
    assert with_noise[0] == plain[0]


def test_first_weights_hang_on_the_seed_and_on_the_name(small_experiment: Path) -> None:
    def drawn(*overrides: str, stages: dict[str, str] = STAGES) -> Mapping[str, torch.Tensor]:
        run = assemble(load(with_stages(small_experiment, stages), discover(), overrides))
        return run.model.all_trained_parameters()

    plain, again, other = drawn(), drawn(), drawn("seed=4")
    more = {**IDLE_STAGES, "another": STAGES["vision_adapter"], **STAGES}
    renamed = drawn("model.levels=[2,4]", stages=more)
    name, fewer = "sites.stages.vision_adapter.0.linear.weight", "head.segmentation.4.linear.weight"
    assert all(torch.equal(value, again[key]) for key, value in plain.items())
    assert all(torch.equal(value, renamed[key]) for key, value in plain.items() if key in renamed)
    assert fewer in plain
    assert fewer in renamed
    assert not torch.equal(plain[name], other[name])
    assert not torch.equal(plain[name], renamed[name.replace("vision_adapter", "another")])
    assert not torch.equal(plain[name], plain[name.replace(".0.", ".1.")])


def test_a_stream_leaves_that_of_the_others_where_it_was() -> None:
    cpu = torch.device("cpu")
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with drawn_for(7, "a"):
        one = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with step_draws(7, device=cpu):
        with own_draws("a"):
            first = torch.rand(2)
        with own_draws("b"):
            torch.rand(9)
        with own_draws("a"):
            second = torch.rand(2)
    with step_draws(7, device=cpu), own_draws("a"):
        again = torch.rand(2)
    assert torch.equal(first, again)
    assert len({tuple(values.tolist()) for values in (one, first, second)}) == 3


@pytest.mark.slow
def test_the_phases_of_one_tower_do_not_hang_on_the_other(
    tmp_path: Path, small_experiment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = small_experiment.with_name("vision_alone.py")
    plugin.write_text(
        "from aaclip_kit import LoopPlan, OptimizerPlan, Options, PhasePlan, hookimpl\n"
        "class AloneOptions(Options):\n    '''No text phase.'''\n    text: bool = False\n"
        "class Alone:\n    def __init__(self, options):\n        self.text = options.text\n"
        "    def next_loop(self, history):\n        adam = OptimizerPlan('adam', 1e-3)\n"
        "        phases = [PhasePlan(tower, 1, 4, adam, attention=False) for tower in ('text', 'vision', 'vision')]\n"
        "        return None if history else LoopPlan(tuple(phases[0 if self.text else 1:]))\n"
        "@hookimpl\ndef register_schedulers(register):\n    register('alone', Alone, AloneOptions)\n"
    )
    keys: list[tuple[int, ...]] = []

    def steps(batches: TrainBatches) -> int:
        keys.append(batches.key)
        return 2

    monkeypatch.setattr(TrainBatches, "steps", property(steps))
    chosen = (f'plugins=["{plugin}"]', "scheduler.use=alone")
    run_file(small_experiment, tmp_path / "alone", *chosen)
    alone = list(dict.fromkeys(keys))
    keys.clear()
    run_file(small_experiment, tmp_path / "both", *chosen, "scheduler.text=true")
    assert alone == [(3, 1, 1), (3, 1, 4)]
    assert list(dict.fromkeys(keys)) == [(3, 1, 0), *alone]
