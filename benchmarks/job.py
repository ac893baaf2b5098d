"""One load in a process of its own: the engine's steps and the naive ones by turns, with memory and matmul peak.

python benchmarks/job.py '{"kind": "stage2", "size": 224, "batch": 4}'

Prints one line of JSON last. The engine is measured through what a run calls: `train_phase`, from one step's report to
the next (decoding and optimiser included), and the evaluator's batches. Its peak memory is read before the naive code
first runs; theirs, at the end, is the larger.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from clock import Clock
from naive import Naive
from operations import Operations
from workload import SCORED, Load, Workload, first_batch, phase_of, scored_data

from aaclip_kit import TowerName
from aaclip_kit.cache.feature_store import FeatureStore
from aaclip_kit.evaluation.evaluator import Evaluator
from aaclip_kit.run.assemble import Run, open_feature_store
from aaclip_kit.training.phase import train_phase
from aaclip_kit.training.step import Step, StepCallback

KEPT = ("switches.surgery_attention=tokens", "augmentation.views=1")
"""Features can be kept only where they depend on the image alone, and on a view of it that comes again."""


@dataclass
class Turns:
    """Takes turns after each of the engine's steps, the first of which warms up and is not counted."""

    clock: Clock
    others: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    """What runs after a step, by name."""
    most: int = 0
    """Times that each of them runs."""
    own: list[float] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """Of each of the others."""
    own_peak: int = 0
    first: float | None = None
    _start: float = 0.0

    def begin(self) -> None:
        """The engine's next step starts now."""
        self._start = self.clock.now()

    def ended(self) -> None:
        """One of the engine's steps is done."""
        lap = self.clock.now() - self._start
        if self.first is None:
            self.first = lap
        else:
            self.own.append(lap)
        if not self.seconds:
            self.own_peak = self.clock.peak_memory()
        if self.most:
            self.most -= 1
            for name, other in self.others.items():
                self.seconds.setdefault(name, []).append(self.clock.seconds(other))
        self.begin()


def measure(load: Load) -> dict[str, Any]:
    """All figures of one load: seconds of each step or batch, peak bytes, operations, operations a second."""
    clock = Clock(torch.device(load.device))
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(load, Path(folder))
        kind = {"stage1": stage1, "stage2": stage2, "scoring": scoring, "evaluation": evaluation}[load.kind]
        with peaks(clock) as found:
            found.update(kind(workload, clock))
    return found


@contextmanager
def peaks(clock: Clock) -> Iterator[dict[str, Any]]:
    """The matmul peak, before and after, is the larger of the two; in bf16 on a GPU."""
    dtype = torch.bfloat16 if clock.device.type == "cuda" else torch.float32
    found: dict[str, Any] = {}
    before = clock.matmul_peak(dtype)
    yield found
    found["matmul_peaks"] = [before, clock.matmul_peak(dtype)]


def stage1(workload: Workload, clock: Clock) -> dict[str, Any]:
    """Text steps on features computed for the step; then, where asked, on kept ones, with either image context."""
    run = workload.assembled()
    found = _training(workload, clock, run, "text")
    found["operations"] = _operations(run).stage1(workload.load.batch, cached=False)
    if workload.load.cached:
        store = None
        for name, context in (("cached", "batch_mean"), ("cached_own_context", "own")):
            run = workload.assembled(*KEPT, f"switches.image_context={context}")
            store = store or open_feature_store(run)
            found[name] = _run_phase(run, "text", Turns(clock), workload.load.own, store).own
            found[f"{name}_operations"] = _operations(run).stage1(workload.load.batch, cached=True)
    return found


def stage2(workload: Workload, clock: Clock) -> dict[str, Any]:
    """Vision steps."""
    run = workload.assembled()
    found = _training(workload, clock, run, "vision")
    found["operations"] = _operations(run).stage2(workload.load.batch)
    return found


def scoring(workload: Workload, clock: Clock) -> dict[str, Any]:
    """Batches of one class, the class's text feature known."""
    load, run = workload.load, workload.assembled()
    data, evaluator, naive = scored_data(run), _evaluator(run), Naive(run)
    batch = first_batch(phase_of(run, "vision", 1))
    with torch.no_grad():
        text = naive.text_feature(SCORED, None)
    others = {"naive": lambda: naive.scores(batch.images, text), "forward": lambda: naive.forward(batch.images)}
    turns = Turns(clock, others, load.naive)
    turns.begin()
    for _ in evaluator.scored_batches(data, SCORED, {"text", "vision"}, trained=True):
        turns.ended()
    operations = _operations(run).scoring(load.batch, run.experiment.switches.evaluation_attention)
    return {**_figures(turns, clock), "operations": operations}


def evaluation(workload: Workload, clock: Clock) -> dict[str, Any]:
    """A whole class with its metrics: one number, for all images."""
    run = workload.assembled()
    evaluator = _evaluator(run)
    seconds = clock.seconds(lambda: evaluator.evaluate(scored_data(run), {"text", "vision"}, trained=True))
    return {"own": [seconds], "naive": [], "own_peak": clock.peak_memory()}


def _training(workload: Workload, clock: Clock, run: Run, tower: TowerName) -> dict[str, Any]:
    naive, batch = Naive(run), first_batch(phase_of(run, tower, 1))
    others = {"naive": lambda: naive.step(tower, batch), "forward": lambda: naive.forward(batch.images)}
    turns = Turns(clock, others, workload.load.naive)
    figures = _figures(_run_phase(run, tower, turns, workload.load.own), clock)
    return {**figures, "naive_extra": naive.extra_seconds}


def _run_phase(run: Run, tower: TowerName, turns: Turns, steps: int, store: FeatureStore | None = None) -> Turns:
    """A phase of as many epochs as steps, and one to warm up: an epoch is one batch."""

    def report(step: Step) -> None:
        turns.ended()

    # Where the program runs ahead of the device, a step is reported when the next has been launched, and at the last
    # report there is none.
    late = int(run.compute_device.runs_ahead)
    phase = phase_of(run, tower, steps + 1 + late, store)
    turns.begin()
    train_phase(phase, StepCallback(report))
    del turns.own[steps:]
    return turns


def _figures(turns: Turns, clock: Clock) -> dict[str, Any]:
    found = {"own": turns.own, "naive": [], **turns.seconds, "own_peak": turns.own_peak}
    return {**found, "naive_peak": clock.peak_memory()} if turns.seconds else found


def _operations(run: Run) -> Operations:
    return Operations(run.model, run.data.sets["train"].classes)


def _evaluator(run: Run) -> Evaluator:
    file = run.experiment.file
    return Evaluator(
        run.model,
        run.compute_device,
        run.pixels,
        table=file.evaluation,
        switches=run.experiment.switches,
        workers=file.workers,
    )


def main() -> None:
    """Measure the load that the first argument describes."""
    found = measure(Load(**json.loads(sys.argv[1])))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
