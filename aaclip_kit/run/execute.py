"""A run from its first step to its end, whatever ends it."""

from contextlib import AbstractContextManager
from shlex import quote
from typing import Protocol, runtime_checkable

from ..contracts.errors import UserError
from ..record.run_folder import EXPERIMENT, RunFolder
from .assemble import Run
from .loop import Progress, execute
from .snapshot import Snapshot, snapshots
from .state import Metrics
from .stop import Stopped, StopRequest


@runtime_checkable
class Screen(Progress, AbstractContextManager[object], Protocol):
    """A `Progress` that shows itself while it is entered, and is told at the end if a signal stopped the run."""

    def stopped(self, text: str) -> None:
        """Show how to go on."""


def execute_to_the_end(assembled: Run, folder: RunFolder, screen: Screen, snapshot: Snapshot | None = None) -> Metrics:
    """Execute the run; a signal ends it with its state saved, and with the exit code that shells expect."""
    stop, go_on = StopRequest(), f"aakit run --resume {quote(str(folder.path))}"
    if assembled.experiment.file.plugins:
        go_on += f" --experiment {quote(str(folder.path / EXPERIMENT))}"
    try:
        with screen, stop.listening():
            return execute(assembled, folder, screen, snapshot, stop)
    except UserError:
        if assembled.ranks.is_first and folder.snapshots.exists():
            kept = "its state up to then is kept" if snapshots(folder.snapshots) else "no state of it is kept yet"
            screen.message(f"{kept}; when this is mended: {go_on}")
        raise
    except SystemExit:  # nobody reads what it prints any more
        screen.stopped(f"stopped, since standard output was closed; go on with: {go_on}")
        raise
    except Stopped as stopped:
        if assembled.ranks.is_first:
            screen.stopped(f"stopped by {stopped}; go on with: {go_on}")
        raise SystemExit(stopped.code) from None
