"""Folders of runs that may be there already: which are finished, which are free, which are another's."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..contracts.errors import UserError
from ..experiment import Experiment
from ..record.folder import EXPERIMENT, RunFolder
from ..registry import Registry
from ..resume.folder import take_up, unfinished
from .runs import holds_a_run, is_finished
from .same import differences_from_folder

if TYPE_CHECKING:
    from ..engine.assemble import Run
    from ..resume.snapshot import Snapshot

State = Literal["free", "finished", "unfinished"]


def state_of(folder: Path, experiment: Experiment, registry: Registry) -> State:
    """What a folder holds of `experiment`. Raises `UserError` where it holds another experiment or anything else."""
    if not (folder.is_dir() and holds_a_run(folder)):
        RunFolder.check_free(folder)
        return "free"
    begun = has_begun(folder)
    if begun and (changed := differences_from_folder(folder / EXPERIMENT, experiment, registry)):
        more = f" and {len(changed) - 3} more keys" if len(changed) > 3 else ""
        problem = f"holds a run of another experiment: {', '.join(changed[:3])}{more}"
        raise UserError(problem, where=str(folder), fix="name another folder with --out")
    return "finished" if begun and is_finished(folder) else "unfinished"


def has_begun(folder: Path) -> bool:
    """Whether an unfinished run can go on: one that has not begun yet has left nothing to go on with."""
    return (folder / EXPERIMENT).is_file()


def open_run(folder: Path, run: "Run") -> "tuple[RunFolder, Snapshot | None, list[str]]":
    """The folder of a new run; or of one that is taken up, its last snapshot, and lines that say so."""
    if has_begun(folder):
        found, snapshot, warnings = unfinished(folder)
        line = take_up(found, snapshot, run.experiment.plugins, run.data.records)
        return found, snapshot, [*(f"warning: {warning}" for warning in warnings), line]
    return RunFolder.create(folder), None, []


def seed_folder(out: Path, seed: int) -> Path:
    """Where the run of one seed belongs."""
    return out / f"seed_{seed}"
