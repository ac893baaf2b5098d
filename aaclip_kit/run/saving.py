"""Saving a run's whole state between its steps, and going on from it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..contracts.errors import UserError
from ..distributed.collectives import all_gather_object
from ..distributed.random_streams import random_state, set_random_state
from ..model.anomaly_model import AnomalyModel
from ..model.plugin_faults import files_of
from ..record.run_folder import RunFolder
from ..training.optimizer import OptimizerStepper
from ..training.step import PendingStep, Step, StepCallback
from .assemble import Run
from .snapshot import Snapshot, write_snapshot
from .state import RunState
from .stop import StopRequest


class Saving(StepCallback):
    """Writes snapshots of a run, between the steps of its phases and after them.

    Of several ranks the first alone writes; every rank's random state is in what it writes.
    """

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        state: RunState,
        stop: StopRequest,
        *,
        report: Callable[[Step], None],
        tell: Callable[[str], None],
    ) -> None:
        """`tell` shows the user a line; `report` is handed each step."""
        super().__init__(report)
        self.folder, self.state, self.stop, self.tell = folder, state, stop, tell
        self.every, self.training = run.experiment.file.checkpoint.every, run.experiment.file.training
        self.model, self.compute_device, self.ranks = run.model, run.compute_device, run.ranks
        self.identity: str | None = None
        """The run's, once its folder says what it is."""
        self.resumed: Snapshot | None = None
        """What the phase that begins next goes on from, in its middle."""
        self._last, self._steps = time.monotonic(), 0

    @property
    def first_step(self) -> int:  # type: ignore[override]
        """See `StepCallback`."""
        return self.state.step

    @property
    def may_skip(self) -> bool:  # type: ignore[override]
        """See `StepCallback`."""
        return self.training.on_nan == "skip"

    def begin(self, stepper: OptimizerStepper) -> None:
        """See `StepCallback`: the optimizer and the random states as they were."""
        if self.state.step and self.resumed is not None:
            stepper.restore(_part(self.resumed.tensors, "optimiser."), self.resumed.state["descent"])
            set_random_state(self.compute_device.device, self.resumed.tensors[f"random.{self.ranks.rank}"])
        self.resumed = None

    def pause_wanted(self) -> bool:
        """See `StepCallback`: whether a snapshot is due, or a signal has asked for an end."""
        self._steps += 1
        due = is_due(self.every, self._steps, time.monotonic() - self._last)
        # What one rank's clock says, or a signal that one of them got, is for all: they act together.
        everyone = all_gather_object(self.ranks, (due, self.stop.number))
        self.stop.number = next((number for _, number in everyone if number is not None), None)
        return self.stop.number is not None or any(due for due, _ in everyone)

    def pause(self, stepper: OptimizerStepper, step: int) -> None:
        """See `StepCallback`: save, and end where that was asked for."""
        self.state.step = step
        self.save(stepper)
        self.stop.raise_if_asked()

    def skips(self, pending: PendingStep, fault: UserError) -> bool:
        """See `StepCallback`; an event and a line tell of every step that is left out."""
        if not self.may_skip or self.state.skipped >= self.training.most_skips:
            return False
        self.state.skipped += 1
        at = f"loop {self.state.loop}, step {pending.step} of phase {self.state.phase + 1}"
        message = f"warning: {at} is left out: {fault.problem}; images {files_of(pending.batch.samples)}"
        event = {"event": "skipped", "loop": self.state.loop, "phase": self.state.phase + 1, "step": pending.step}
        if self.ranks.is_first:
            self.folder.event({**event, "skipped": self.state.skipped, "message": message})
        self.tell(message)
        return True

    def keep_fault(self, stepper: OptimizerStepper, pending: PendingStep, fault: UserError) -> None:
        """See `StepCallback`: a run's folder that stands before the step, with the batch in plain sight."""
        self.state.step = pending.step - 1
        snapshot, batch = self._snapshot(stepper, pending.random), pending.batch
        if not self.ranks.is_first:
            return
        stats = pending.stats.read()
        about = {
            "loop": self.state.loop, "phase": self.state.phase + 1, "step": pending.step, "problem": fault.problem,
            "terms": stats.terms, "gradient_norms": stats.norms,
            "images": [str(sample.image) for sample in batch.samples],
        }  # fmt: skip
        tensors = {"images": batch.images, "masks": batch.masks, "labels": batch.labels}
        try:
            self.folder.write_fault(about, {name: value.cpu().contiguous() for name, value in tensors.items()})
            state = {**snapshot.state, "events": 0, "descent": _before(snapshot.state["descent"], pending)}
            write_snapshot(RunFolder(self.folder.fault).snapshots, Snapshot(snapshot.tensors, state))
        except OSError as error:
            self.tell(f"warning: the step could not be kept in {self.folder.fault} ({error.strerror or error})")

    def save(self, stepper: OptimizerStepper | None = None) -> None:
        """Write a snapshot. Raises OSError where it cannot be written; the earlier ones are as they were."""
        snapshot = self._snapshot(stepper, random_state(self.compute_device.device))
        if self.ranks.is_first:
            write_snapshot(self.folder.snapshots, snapshot)
        self._last, self._steps = time.monotonic(), 0

    def _snapshot(self, stepper: OptimizerStepper | None, random: Tensor) -> Snapshot:
        tensors = {f"weights.{name}": value for name, value in _weights(self.model).items()}
        tensors |= {f"cases.{name}": value for name, value in self.state.arrays().items()}
        held, plain = ({}, None) if stepper is None else stepper.state()
        tensors |= {f"optimiser.{name}": value for name, value in held.items()}
        tensors |= {f"random.{rank}": state for rank, state in enumerate(all_gather_object(self.ranks, random))}
        events = self.folder.flushed_events_size() if self.ranks.is_first else 0
        state = {"run": self.state.plain(), "descent": plain, "events": events, "ranks": self.ranks.size}
        return Snapshot(tensors, {**state, "of": self.identity})

    def restore(self, snapshot: Snapshot) -> None:
        """Take up weights and state; the optimiser and the random states follow when the phase begins.

        Raises `UserError` where the snapshot is not of this experiment, or of another number of processes.
        """
        ranks = snapshot.state["ranks"]
        if ranks != self.ranks.size:
            problem = f"was saved by {ranks} processes, and these are {self.ranks.size}"
            raise UserError(problem, where=str(self.folder.path), fix=f"start {ranks} of them")
        weights, saved = _weights(self.model), _part(snapshot.tensors, "weights.")
        if weights.keys() != saved.keys() or any(value.shape != saved[name].shape for name, value in weights.items()):
            fix = "use the plugins that it was started with, or start it again in another folder"
            raise UserError("its snapshots hold weights of another model", where=str(self.folder.path), fix=fix)
        with torch.no_grad():
            for name, value in weights.items():
                value.copy_(saved[name])
        self.state.restore(snapshot.state["run"], _part(snapshot.tensors, "cases."))
        if self.ranks.is_first:
            self.folder.cut_events(snapshot.state["events"])
        self.resumed = snapshot


def is_due(every: str, steps: int, seconds: float) -> bool:
    """Whether a state that was saved so many steps and seconds ago is too old, by `checkpoint.every`."""
    if every == "never":
        return False
    number, unit = every.split()
    return steps >= int(number) if unit.startswith("step") else seconds >= 60 * float(number)


def _before(descent: Mapping[str, Any], pending: PendingStep) -> dict[str, Any]:
    """Return the optimizer's state with the learning rate before a step: a device that runs ahead has gone on since."""
    rates = {**descent["rates"], "last_epoch": pending.schedule_at, "_last_lr": [pending.learning_rate]}
    return {**descent, "rate": pending.learning_rate, "rates": rates}


def _weights(model: AnomalyModel) -> dict[str, Tensor]:
    """What training changes: parameters of both towers' phases, and the buffers of stages."""
    return {**model.all_trained_parameters(), **dict(model.slots.named_buffers(prefix="sites"))}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
