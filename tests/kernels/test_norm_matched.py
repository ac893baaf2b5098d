"""Which form of the norm-matched residual a call gets, and where the kernel is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from aaclip_kit import AttentionStage, Context, UserError
from aaclip_kit.checkpoints.find_checkpoint import find_trained
from aaclip_kit.experiment import load
from aaclip_kit.inference.load_model import TrainedModel
from aaclip_kit.kernels import norm_matched
from aaclip_kit.kernels.norm_matched import formula, fused_is_on, fused_residual
from aaclip_kit.model.stage_slots import NO_CONTEXT, StageSlots
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import assemble

from .cases import CASES

CPU = torch.device("cpu")


class Listens(AttentionStage):
    """Notes whether the kernel is chosen where a stage runs; fails if it is told to."""

    def __init__(self, fails: bool = False) -> None:
        super().__init__()
        self.heard: list[bool] = []
        self.fails = fails

    def forward(self, tokens: Tensor, context: Context | None) -> Tensor:
        self.heard.append(fused_is_on())
        if self.fails:
            raise RuntimeError("as told")
        return tokens


@pytest.mark.parametrize("chosen", [True, False])
def test_every_stage_of_a_detector_hears_its_choice_and_nobody_else(chosen: bool) -> None:
    slots, stage = StageSlots(), Listens()
    slots.place("listens", "text", 0, stage)
    slots.fused = chosen
    with fused_residual(not chosen):
        slots.apply_after("text", 0, torch.zeros(1, 2, 4), NO_CONTEXT)
        assert fused_is_on() is not chosen
    assert stage.heard == [chosen]
    assert not fused_is_on()


def test_a_stage_that_fails_leaves_no_choice_behind() -> None:
    slots = StageSlots()
    slots.place("fails", "text", 0, Listens(fails=True))
    slots.fused = True
    with pytest.raises(UserError, match="as told"):
        slots.apply_after("text", 0, torch.zeros(1, 2, 4), NO_CONTEXT)
    assert not fused_is_on()


@pytest.mark.parametrize("autocast", [False, True])
def test_the_kernels_result_has_the_dtype_of_the_formulas(autocast: bool) -> None:
    """Whatever the shapes are: one case of each pair of dtypes, with a learned scale and without."""
    kinds = {(case.tokens, case.update, case.learned is None): name for name, case in CASES.items()}
    assert len(kinds) >= 6
    found, expected = dict[str, torch.dtype](), dict[str, torch.dtype]()
    for device in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
        for name in kinds.values():
            tokens, update, scale = CASES[name].inputs()
            given = tokens.to(device), update.to(device), scale.to(device) if isinstance(scale, Tensor) else scale
            with torch.autocast(device, torch.bfloat16, enabled=autocast):
                expected[f"{name}, {device}"] = formula(*given, 0.9, 1e-6).dtype
                found[f"{name}, {device}"] = norm_matched._result_dtype(*given)
    assert found == expected


def test_a_run_on_a_cpu_is_refused_the_kernel(small_experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    experiment = load(small_experiment, discover(), ["device=cpu", "compute.fused_residual=on"])
    with pytest.raises(UserError, match="for CUDA devices, and the device is cpu") as caught:
        assemble(experiment)
    assert caught.value.where == "compute.fused_residual"
    assert caught.value.fix == 'set it to "off"'


def test_a_machine_without_triton_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.delitem(sys.modules, "aaclip_kit.kernels.triton_norm_matched", raising=False)
    monkeypatch.setitem(sys.modules, "triton", None)
    assert norm_matched.why_not_fused(CPU) == "triton is not installed"


def test_a_kernel_that_fails_where_it_is_tried_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Tensor:
        raise RuntimeError("no C compiler\nand a long trace")

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(norm_matched, "fused", fail)
    assert norm_matched.why_not_fused(CPU) == "triton cannot run it on cpu (RuntimeError: no C compiler)"


def test_a_model_that_was_trained_with_the_kernel_scores_without_it_on_a_cpu(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    overrides = ["device=cpu", "compute.fused_residual=on"]
    model = TrainedModel(find_trained(trained, discover(), None, overrides))
    assert model.trained.experiment.file.compute.fused_residual == "on"
    assert not model.model.slots.fused
    monkeypatch.setattr("aaclip_kit.inference.load_model.why_not_fused", lambda device: None)
    assert TrainedModel(find_trained(trained, discover(), None, overrides)).model.slots.fused
