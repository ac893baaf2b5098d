"""Run as a child: the memory that a phase of an experiment really takes, beside what it was found to need before."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from aaclip_kit.experiment import load
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.run.assemble import Run, assemble, build_phase
from aaclip_kit.run.fit_memory import fit_memory
from aaclip_kit.training.loop_plans import plan_ahead
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import StepCallback


def resident(key: str) -> int:
    """Bytes of this process: VmRSS are those that it has, VmHWM the most that it had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def train(run: Run, tower: str) -> None:
    """The first phase of a tower, all stages acting."""
    plan = next(plan for plan in plan_ahead(run.scheduler)[0].phases if plan.train == tower)
    train_phase(build_phase(run, plan, 1, 0, frozenset({"text", "vision"})), StepCallback())


def taken_by(run: Run, tower: str) -> int:
    """The most bytes that the process had during a phase, beyond those before it."""
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the most back to what there is
    train(run, tower)
    return resident("VmHWM") - before


def main(file: Path, overrides: list[str]) -> None:
    """Print, for each kind of phase, what was foreseen beside the weights and what was taken."""
    torch.set_num_threads(1)
    run = assemble(load(file, discover(), overrides))
    train(run, "vision")  # what torch loads at its first step is no part of it
    memory, found = fit_memory(run, show=True).memory, {}
    assert memory is not None
    weights = sum(one.nbytes for one in (*run.model.parameters(), *run.model.buffers()))
    for need in memory.needs:
        for recompute in (False, True) if need.tower == "vision" else (False,):
            run.model.image.recompute = recompute
            pair = (need.bytes(recompute) - weights, taken_by(run, need.tower))
            found[f"{need.tower}{', recomputed' if recompute else ''}"] = pair
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
