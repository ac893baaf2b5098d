"""Scoring a run's checkpoints again, loop after loop, under another way of scoring or on other test data."""

from datetime import datetime
from pathlib import Path
from typing import Any

from ..checkpoints.checkpoint import load_into
from ..checkpoints.find_checkpoint import checkpoint_of
from ..contracts.errors import UserError
from ..contracts.schedule import PhasePlan
from ..record.run_folder import CHECKPOINTS, RunFolder
from ..training.loop_plans import attending_after
from .assemble import Run
from .loop import Execution
from .progress import Progress
from .state import Metrics


def rescore(run: Run, source: Path, folder: RunFolder, progress: Progress) -> Metrics:
    """A run that takes each loop's weights from the checkpoints of run folder `source`, and trains nothing.

    It leaves what any run leaves but for checkpoints and steps; its manifest names `source` as `rescored_from`. The
    experiments may differ in what acts on results only. Raises `UserError` where `source` lacks a checkpoint or one
    does not fit.
    """
    return _Rescoring(run, source, folder, progress).run()


class _Rescoring(Execution):
    def __init__(self, run: Run, source: Path, folder: RunFolder, progress: Progress) -> None:
        super().__init__(run, folder, progress)
        self.source = source
        run.model.requires_grad_(False)

    def _train(self, loop: int, number: int, plan: PhasePlan) -> None:
        self.state.attending = attending_after(plan, self.state.attending)
        if number == 0:
            load_into(self.assembled.model, self._checkpoint(loop))

    def _keep(self) -> None:
        """Nothing is lost that scoring once more would not bring."""

    def _save(self, loop: int) -> None:
        """The weights are in the source already."""

    def _checkpoint(self, loop: int) -> Path:
        if path := checkpoint_of(self.source / CHECKPOINTS, loop):
            return path
        fix = "keep the checkpoints of runs that are scored again"
        raise UserError(f"has no checkpoint of loop {loop}", where=str(self.source), fix=fix)

    def _manifest(self, started: datetime, ended: datetime | None) -> dict[str, Any]:
        return {**super()._manifest(started, ended), "rescored_from": str(self.source)}
