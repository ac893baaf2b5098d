"""Numbers that go wrong: they stop a run before its weights, and can be repeated; or are left out, so many of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from aaclip_kit import Loss, UserError
from aaclip_kit.checkpoints.checkpoint import trained_state
from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import Run, assemble
from aaclip_kit.run.loop import execute
from aaclip_kit.run.snapshot import newest
from aaclip_kit.training.losses import WeightedLosses

from ..command import Command

pytestmark = pytest.mark.usefixtures("undrawn")

MANY = ["scheduler.image_epochs=[6,1]", "checkpoint.every=1 step"]


class BreaksAtBatches(Loss):
    """Not a number for every batch with three anomalous images of four, whatever the weights are."""

    needs = ("level_probabilities", "labels")

    def forward(self, **named: Any) -> dict[str, Tensor]:
        pull = sum(found[:, 1].mean() for found in named["level_probabilities"].values())
        return {"term": pull * (float("nan") if int(named["labels"].sum()) == 3 else 1.0)}


def breaking(path: Path, *overrides: str) -> Run:
    """The small experiment, whose vision phases have that loss."""
    run = assemble(load(path, discover(), [*MANY, *overrides]))
    losses = {**run.losses, "vision": WeightedLosses({"breaking": (BreaksAtBatches(), 1.0)})}
    return Run(**{**vars(run), "losses": losses})


def events_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == kind]


def test_it_stops_before_the_weights_and_leaves_a_folder_that_repeats_the_step(
    tmp_path: Path, small_experiment: Path
) -> None:
    run, out = breaking(small_experiment), tmp_path / "run"
    with pytest.raises(UserError, match="the loss is not finite: breaking/term") as caught:
        execute(run, RunFolder.create(out), QuietScreen())
    stopped = trained_state(run.model)
    about = json.loads((out / "fault" / "fault.json").read_text())
    assert f"step {about['step']}" in str(caught.value) and about["images"][0] in str(caught.value)
    assert about["step"] > 1 and "breaking/term" in about["problem"]
    assert about["terms"] == {"breaking/term": None}
    batch = load_file(out / "fault" / "batch.safetensors")
    assert int(batch["labels"].sum()) == 3 and batch["images"].shape[0] == len(about["images"]) == 4
    assert [event["step"] for event in events_of(out, "step") if event["phase"] == "vision"] == list(
        range(1, about["step"])
    )
    # The last state that was saved is that after the step before.
    before, _ = newest(out / "snapshots")
    assert before is not None and before.state["run"]["at"] == [about["loop"], about["phase"] - 1, about["step"] - 1]
    for name, value in stopped.items():
        assert torch.equal(value, before.tensors[f"weights.{name}"])
    again = breaking(small_experiment)
    kept, _ = newest(out / "fault" / "snapshots")
    with pytest.raises(UserError) as repeated:
        execute(again, RunFolder(out / "fault"), QuietScreen(), kept)
    assert str(repeated.value) == str(caught.value)
    assert all(torch.equal(value, stopped[name]) for name, value in trained_state(again.model).items())


@pytest.mark.slow
def test_it_can_go_on_without_such_steps_so_many_times(tmp_path: Path, small_experiment: Path) -> None:
    run, out = breaking(small_experiment, "training.on_nan=skip"), tmp_path / "run"
    execute(run, RunFolder.create(out), QuietScreen())
    skipped = events_of(out, "skipped")
    assert skipped and all("is left out: the loss is not finite" in event["message"] for event in skipped)
    steps = {(event["loop"], event["step"]): event for event in events_of(out, "step") if event["phase"] == "vision"}
    assert len(steps) == 14, "a step that is left out counts"
    assert {key for key, event in steps.items() if event["loss"] is None} == {
        (event["loop"], event["step"]) for event in skipped
    }
    assert all(torch.isfinite(value).all() for value in trained_state(run.model).values())
    assert len(skipped) > 1, "too few to show that they are bounded"
    bounded = breaking(small_experiment, "training.on_nan=skip", f"training.most_skips={len(skipped) - 1}")
    with pytest.raises(UserError, match="the loss is not finite"):
        execute(bounded, RunFolder.create(tmp_path / "bounded"), QuietScreen())
    assert len(events_of(tmp_path / "bounded", "skipped")) == len(skipped) - 1


BREAKS = '''
from pathlib import Path

from aaclip_kit import Loss, Options, hookimpl


class BreaksOptions(Options):
    """A loss that is out of order for a while."""


class Breaks(Loss):
    needs = ("level_probabilities",)
    calls = 0

    def __init__(self, options):
        super().__init__()

    def forward(self, *, level_probabilities):
        Breaks.calls += 1
        if Breaks.calls > 8 and Path(__file__).with_name("out_of_order").exists():
            raise RuntimeError("out of order")
        return {"pull": sum(found[:, 1].mean() for found in level_probabilities.values())}


@hookimpl
def register_losses(register):
    register("breaks", Breaks, BreaksOptions)
'''


def test_a_plugin_that_raises_loses_nothing_and_the_run_goes_on_when_it_is_mended(
    aakit: Command, tmp_path: Path, small_experiment: Path
) -> None:
    (tmp_path / "breaks.py").write_text(BREAKS)
    (tmp_path / "out_of_order").touch()
    text = 'plugins = ["./breaks.py"]\n' + small_experiment.read_text() + '[losses.vision.breaks]\nuse = "breaks"\n'
    small_experiment.write_text(text)
    sets = ["--set", "scheduler.image_epochs=[8,1]", "--set", "checkpoint.every=1 step"]
    ran = aakit("run", small_experiment, "--out", tmp_path / "run", *sets)
    assert ran.code == 2 and "its forward raised RuntimeError: out of order" in ran.err
    assert f"its state up to then is kept; when this is mended: aakit run --resume {tmp_path / 'run'}" in ran.out
    (tmp_path / "out_of_order").unlink()
    ran = aakit("run", "--resume", tmp_path / "run", "--experiment", tmp_path / "run" / "experiment.toml")
    assert ran.code == 0 and "going on from loop 1, phase 2" in ran.out
    steps = [(event["loop"], event["phase"], event["step"]) for event in events_of(tmp_path / "run", "step")]
    assert len(steps) == len(set(steps)) == 2 + 16 + 2 + 2
