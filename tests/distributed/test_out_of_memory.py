"""Memory that runs out is one message that names what to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from aaclip_kit import AttentionStage, UserError
from aaclip_kit.distributed.out_of_memory import explaining_out_of_memory, is_out_of_memory
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute

from ..build import Watcher

pytestmark = pytest.mark.usefixtures("undrawn")

FAR_TOO_MUCH = 2**50


def greedy(run: Run, training: bool) -> None:
    """Let the first vision stage ask for a petabyte, in training or in scoring."""
    stage: AttentionStage
    _, _, stage = next(iter(run.model.slots.of("vision")))
    forward = stage.forward

    def asking(tokens: Tensor, context: Any) -> Tensor:
        if stage.training == training:
            torch.empty(FAR_TOO_MUCH, dtype=torch.uint8)
        changed: Tensor = forward(tokens, context)
        return changed

    stage.forward = asking  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("training", "overrides", "problem", "fix"),
    [
        (True, (), "in loop 1, vision phase, batch of 4", 'set compute.recompute = "on", lower the vision phase'),
        (True, ("compute.recompute=on",), "in loop 1, vision phase, batch of 4", "lower the vision phase"),
        (False, ("evaluation.batch_size=3",), "scoring 3 images at once", "lower evaluation.batch_size"),
    ],
)
def test_a_run_says_where_memory_ran_out(
    small_experiment: Path, tmp_path: Path, training: bool, overrides: tuple[str, ...], problem: str, fix: str
) -> None:
    run = assemble(load(small_experiment, discover(), ["device=cpu", *overrides]))
    greedy(run, training)
    with pytest.raises(UserError) as caught:
        execute(run, RunFolder.create(tmp_path / "run"), Watcher())
    assert caught.value.where == "memory"
    assert caught.value.problem == f"memory ran out {problem}"
    assert str(caught.value.fix).startswith(fix)
    assert "backbone.image_size" in str(caught.value.fix)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")])
def test_every_shortage_is_known(error: Exception) -> None:
    assert is_out_of_memory(error)
    with pytest.raises(UserError, match="memory ran out there"), explaining_out_of_memory("there", "less"):
        raise error


def test_other_errors_go_their_way() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explaining_out_of_memory("there", "less"):
        raise RuntimeError("shapes differ")
