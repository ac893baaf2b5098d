"""Faults of plugins while a model runs: found at the boundary, with plugin, component and batch named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..command import Command

pytestmark = pytest.mark.usefixtures("undrawn")

STAGE = """
import torch
from aaclip_kit import AttentionStage, StageOptions, hookimpl

class Options(StageOptions):
    "A stage with a fault."

class Faulty(AttentionStage):
    def __init__(self, options, setting):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(setting.width))
        self.calls = 0

    def forward(self, tokens, context):
        self.calls += self.training
        return {returned}

@hookimpl
def register_attention_stages(register):
    register("faulty", Faulty, Options)
"""
TABLES = '\n[stages.mine]\nuse = "faulty"\ntower = "vision"\nafter = [1]\n'
OWNER = "faulty.py sha256:"


def with_plugin(experiment: Path, source: str, tables: str) -> Path:
    (experiment.parent / "faulty.py").write_text(source)
    experiment.write_text('plugins = ["faulty.py"]\n' + experiment.read_text() + tables)
    return experiment


@pytest.mark.parametrize(
    ("returned", "said", "doing"),
    [
        ("tokens * (torch.nan if self.calls > 1 else self.weight)", "returned NaN or infinity for finite tokens",
         "loop 1, vision phase, step 2"),
        ("tokens * (torch.nan if not self.training else self.weight)", "returned NaN or infinity for finite tokens",
         "scoring"),
        ("tokens / 0.0 if self.calls else tokens * self.weight", "returned NaN or infinity for finite tokens",
         "loop 1, vision phase, step 1"),
        ("tokens.to('meta')", "returned tokens of torch.float32 on meta for torch.float32 on cpu", 
         "loop 1, vision phase, step 1"),
        ("tokens.long()", "returned tokens of torch.int64 on cpu", "loop 1, vision phase, step 1"),
        ("tokens[:, :2] if self.training else tokens", "returned (4, 2, 32) for tokens of shape (4, 17, 32)",
         "loop 1, vision phase, step 1"),
        ("tokens + self.nope", "raised AttributeError: 'Faulty' object has no attribute 'nope'",
         "loop 1, vision phase, step 1"),
    ],
)  # fmt: skip
def test_a_stage_is_named_with_its_plugin_and_batch(
    aakit: Command, small_experiment: Path, tmp_path: Path, returned: str, said: str, doing: str
) -> None:
    file = with_plugin(small_experiment, STAGE.format(returned=returned), TABLES)
    code, _, err = aakit("run", file, "--out", tmp_path / "out")
    assert code == 2
    assert err.startswith("error: stages.mine after block 1 (")
    assert f"Faulty, of {OWNER}" in err
    assert said in err
    assert f"({doing}; images " in err
    assert ".png" in err
    assert "Traceback" not in err


def test_gradients_that_are_not_finite_never_reach_the_weights(
    aakit: Command, small_experiment: Path, tmp_path: Path
) -> None:
    # The root of zero is finite, its gradient is not.
    returned = "tokens * self.weight + (self.weight - self.weight).abs().sqrt().sum()"
    file = with_plugin(small_experiment, STAGE.format(returned=returned), TABLES)
    code, _, err = aakit("run", file, "--out", tmp_path / "out")
    assert code == 2
    assert "gradients are not finite: " in err
    assert f"mine (of {OWNER}" in err
    assert "(loop 1, vision phase, step 1; images " in err


LOSS = """
import torch
from aaclip_kit import Loss, Options, hookimpl

class Mine(Options):
    "A loss with a fault."

class Faulty(Loss):
    needs = ("level_probabilities",)
    def __init__(self, options):
        super().__init__()
    def forward(self, level_probabilities):
        total = sum(level.sum() for level in level_probabilities.values())
        return {returned}

@hookimpl
def register_losses(register):
    register("faulty", Faulty, Mine)
"""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("total", "its forward returned ()"),
        ("{}", "its forward returned {}"),
        ("{'map': next(iter(level_probabilities.values()))}", "its forward returned {'map': '(4, 2, 32, 32)'}"),
        ("{'value': 1.0}", "its forward returned {'value': 'float'}"),
        ("{'value': total.nope}", "its forward raised AttributeError: 'Tensor' object has no attribute 'nope'"),
        ("{'value': total * torch.inf}", "the loss is not finite: mine/value"),
    ],
)
def test_a_loss_is_named_with_its_plugin_and_batch(
    aakit: Command, small_experiment: Path, tmp_path: Path, returned: str, said: str
) -> None:
    tables = '\n[losses.vision.mine]\nuse = "faulty"\n'
    file = with_plugin(small_experiment, LOSS.replace("{returned}", returned), tables)
    code, _, err = aakit("run", file, "--out", tmp_path / "out")
    assert code == 2
    assert said in err
    assert "(loop 1, vision phase, step 1; images " in err
    assert "Traceback" not in err
    if "not finite" not in said:
        assert err.startswith("error: loss mine (")
        assert f"Faulty, of {OWNER}" in err


SCHEDULER = """
from aaclip_kit import LoopPlan, OptimizerPlan, Options, PhasePlan, hookimpl

class Mine(Options):
    "A scheduler with a fault."

class Faulty:
    def __init__(self, options):
        pass
    def next_loop(self, history):
        return None if history else {returned}

def phase(train="text", epochs=1, batch_size=4, rate=1e-3):
    return PhasePlan(train, epochs, batch_size, OptimizerPlan(learning_rate=rate))

@hookimpl
def register_schedulers(register):
    register("faulty", Faulty, Mine)
"""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("5", "it is a int, not a LoopPlan"),
        ("LoopPlan(())", "it has no phase"),
        ("LoopPlan((3,))", "phase 1: it is a int, not a PhasePlan"),
        (
            "LoopPlan((phase(), phase('audio')))",
            "phase 2: it trains 'audio', which is none of 'text'",
        ),
        ("LoopPlan((phase(epochs=0),))", "phase 1: it has 0 epochs"),
        (
            "LoopPlan((phase(batch_size=0, rate=-1.0),))",
            "its batches are of 0 images; phase 1: its learning rate is -1.0",
        ),
        ("1 / 0", "planning loop 1 raised ZeroDivisionError"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused_before_anything_is_written(
    aakit: Command, small_experiment: Path, tmp_path: Path, returned: str, said: str
) -> None:
    file = with_plugin(small_experiment, SCHEDULER.replace("{returned}", returned), "")
    code, _, err = aakit("run", file, "--out", tmp_path / "out", "--set", "scheduler.use=faulty")
    assert code == 2
    assert said in err
    assert f"Faulty, of {OWNER}" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()
