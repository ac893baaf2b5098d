"""Saving: when it is due, and what a phase goes on with in its middle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aaclip_kit import UserError
from aaclip_kit.cli.screen import QuietScreen
from aaclip_kit.record.run_folder import RunFolder
from aaclip_kit.run.assemble import build_phase
from aaclip_kit.run.loop import Execution
from aaclip_kit.run.saving import is_due
from aaclip_kit.run.snapshot import Snapshot, newest
from aaclip_kit.run.stop import Stopped, StopRequest
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step

from ..build import build, plan_for

DROPOUT = [f"stages.{name}.dropout=0.9" for name in ("text_to_image", "image_to_text")]


@pytest.mark.parametrize(
    ("every", "steps", "seconds", "due"),
    [
        ("5 minutes", 10**6, 299.9, False),
        ("5 minutes", 0, 300.0, True),
        ("1 minute", 0, 59.0, False),
        ("0.5 minutes", 0, 30.0, True),
        ("3 steps", 2, 1e6, False),
        ("3 steps", 3, 0.0, True),
        ("1 step", 1, 0.0, True),
        ("never", 10**6, 1e6, False),
    ],
)
def test_a_state_is_saved_after_so_many_minutes_or_steps(every: str, steps: int, seconds: float, due: bool) -> None:
    assert is_due(every, steps, seconds) is due


def test_minutes_are_counted_from_the_last_saving(
    small_experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    run = build(small_experiment, "checkpoint.every=5 minutes")
    saving = Execution(run, RunFolder.create(tmp_path / "run"), QuietScreen()).saving
    found = []
    for _ in range(2):
        saving.save()
        for seconds in (299, 1):
            clock[0] += seconds
            found.append(saving.pause_wanted())
    assert found == [False, True, False, True]


def execution(file: Path, out: Path, stop: StopRequest | None = None, *overrides: str) -> Execution:
    """A run with strong dropout, saved after every step."""
    run = build(file, "checkpoint.every=1 step", *DROPOUT, *overrides)
    return Execution(run, RunFolder(out) if out.exists() else RunFolder.create(out), QuietScreen(), stop=stop)


def steps_of(life: Execution, seed: int, stop_after: int | None = None) -> list[float]:
    """Losses of a vision phase of four steps, or of those that are left; then what `seed` draws next."""
    losses: list[float] = []

    def report(step: Step) -> None:
        losses.append(step.loss)
        if len(losses) == stop_after:
            assert life.stop is not None
            life.stop.number = 15

    phase = build_phase(life.assembled, plan_for("vision", epochs=2), 1, 0, frozenset({"text", "vision"}))
    torch.manual_seed(seed)
    life.saving.report = report
    train_phase(phase, life.saving)
    return [*losses, float(torch.rand(()))]


def saved(folder: Path) -> Snapshot:
    found, lines = newest(folder / "snapshots")
    assert found is not None and not lines
    return found


def test_a_phase_that_goes_on_in_its_middle_draws_what_it_would_have_drawn(
    small_experiment: Path, tmp_path: Path
) -> None:
    whole = steps_of(execution(small_experiment, tmp_path / "whole"), seed=1)
    assert len(whole) == 4 + 1
    first = execution(small_experiment, tmp_path / "run", StopRequest())
    with pytest.raises(Stopped):
        steps_of(first, seed=1, stop_after=2)
    second = execution(small_experiment, tmp_path / "run")
    second.saving.restore(saved(tmp_path / "run"))
    assert steps_of(second, seed=2) == whole[2:]
    still = execution(small_experiment, tmp_path / "still", None, "switches.dropout=false")
    assert steps_of(still, seed=1)[1:4] != whole[1:4], "dropout acts"


def test_a_snapshot_of_another_number_of_processes_is_refused(small_experiment: Path, tmp_path: Path) -> None:
    life = execution(small_experiment, tmp_path / "run")
    life.saving.save()
    found = saved(tmp_path / "run")
    with pytest.raises(UserError, match="was saved by 3 processes, and these are 1") as caught:
        life.saving.restore(replace(found, state={**found.state, "ranks": 3}))
    assert caught.value.where == str(tmp_path / "run") and caught.value.fix == "start 3 of them"


@pytest.mark.parametrize("change", ["another shape", "one more", "one less"])
def test_a_snapshot_of_another_model_is_refused_and_no_weight_is_touched(
    small_experiment: Path, tmp_path: Path, change: str
) -> None:
    life = execution(small_experiment, tmp_path / "run")
    life.saving.save()
    before = {name: value.clone() for name, value in life.assembled.model.state_dict().items()}
    found = saved(tmp_path / "run")
    tensors = {name: value + 1 if name.startswith("weights.") else value for name, value in found.tensors.items()}
    last = [name for name in tensors if name.startswith("weights.")][-1]
    if change == "one more":
        tensors[f"{last}.more"] = torch.ones(1)
    else:
        value = tensors.pop(last)
        tensors |= {last: value[..., :-1]} if change == "another shape" else {}
    with pytest.raises(UserError, match="its snapshots hold weights of another model") as caught:
        life.saving.restore(replace(found, tensors=tensors))
    assert caught.value.where == str(tmp_path / "run") and caught.value.fix
    assert all(torch.equal(value, before[name]) for name, value in life.assembled.model.state_dict().items())
