"""Whether two experiments are the same, and whether their trainings are."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..contracts.errors import UserError, in_short
from ..experiment import Experiment, load, read_toml, resolved_toml
from ..experiment.effects import acts_on
from ..experiment.resolved import by_key
from ..experiment.toml_file import plugin_files
from ..files.plain_file import read_json
from ..plugin_host.registry import Registry
from ..record.run_folder import EXPERIMENT, MANIFEST, RunFolder, beginning, claimed, is_finished
from ..run.resume import finish, lacks_report, take_up, unfinished
from .finished_runs import holds_a_run

if TYPE_CHECKING:
    from ..run.assemble import Run
    from ..run.snapshot import Snapshot


def differences_from_folder(resolved: Path, experiment: Experiment, registry: Registry) -> list[str]:
    """Keys in which a run folder's `experiment.toml` differs from an experiment, each with both values.

    The file is read as any experiment is, so that keys that it is too old to hold have their defaults. Raises
    `UserError` where it cannot be. Plugin files that the experiment does not name itself are not run.
    """
    if others := _other_plugins(resolved, experiment):
        return others
    there, here = _values(load(resolved, registry)), _values(experiment)
    if "model.levels" not in here:  # the default levels are known once the backbone is built
        there.pop("model.levels", None)
    return [f"{key} ({_shown(there, key)} there, {_shown(here, key)} here)" for key in _changed(there, here)]


def _other_plugins(resolved: Path, experiment: Experiment) -> list[str]:
    """Name plugin files that only one of both names, and components that another version of their plugin gave."""
    there, here = plugin_files(read_toml(resolved)), [file.resolve() for file in experiment.file.plugins]
    if there != here:
        return [f"plugins ({', '.join(map(str, there)) or 'none'} there, {', '.join(map(str, here)) or 'none'} here)"]
    manifest = resolved.with_name(MANIFEST)
    used = read_json(manifest).get("plugins", {}) if manifest.is_file() else {}
    now = experiment.plugins
    return [f"plugin {used[key]} there, {now[key]} here" for key in now if used.get(key, now[key]) != now[key]]


def training_differences(first: Experiment, second: Experiment) -> list[str]:
    """Name the keys that differ and that training depends on."""
    return [key for key in _changed(_values(first), _values(second)) if acts_on(key, "training")]


def _values(experiment: Experiment) -> dict[str, Any]:
    """Return every key of the resolved experiment with its tables' names before it: `model.levels`."""
    return by_key(tomllib.loads(resolved_toml(experiment)))


def _changed(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    absent = object()
    return [key for key in dict.fromkeys((*first, *second)) if first.get(key, absent) != second.get(key, absent)]


def _shown(values: dict[str, Any], key: str) -> str:
    return repr(values[key]) if key in values else "unset"


State = Literal["free", "finished", "unfinished"]


def state_of(folder: Path, experiment: Experiment, registry: Registry) -> State:
    """What a folder holds of `experiment`. Raises `UserError` where it holds another experiment or anything else."""
    if not (folder.is_dir() and holds_a_run(folder)):
        RunFolder.check_free(folder)
        return "free"
    begun = has_begun(folder)
    if begun and (changed := differences_from_folder(folder / EXPERIMENT, experiment, registry)):
        problem = f"holds a run of another experiment: {in_short(changed, 3)}"
        raise UserError(problem, where=str(folder), fix="name another folder with --out")
    return "finished" if begun and is_finished(folder) else "unfinished"


def has_begun(folder: Path) -> bool:
    """Whether an unfinished run can go on: one that has not begun yet has left nothing to go on with."""
    return (folder / EXPERIMENT).is_file()


@contextmanager
def open_run(
    folder: Path, experiment: Experiment, registry: Registry, anew: bool = False
) -> "Iterator[RunFolder | None]":
    """The folder of a run that begins or goes on, in which nobody else works until the block ends; None if finished.

    What has not begun, or with `anew` is not finished, begins again. Raises `UserError` as `state_of` does, and
    where another process works in it.
    """
    with claimed(folder, folder.name) as run_folder:
        state = state_of(folder, experiment, registry)
        if state == "finished":
            if lacks_report(folder):
                finish(folder)
            yield None
            return
        if state != "free" and (anew or not has_begun(folder)):
            run_folder.clear()
        with nullcontext() if has_begun(folder) else beginning(run_folder):
            yield run_folder


def take_up_if_begun(folder: RunFolder, run: "Run") -> "tuple[Snapshot | None, list[str]]":
    """The last snapshot of a run that goes on, with lines that say so; nothing of one that begins."""
    if not has_begun(folder.path):
        return None, []
    _, snapshot, warnings = unfinished(folder.path)
    line = take_up(folder, snapshot, run.experiment.plugins, run.data.records)
    return snapshot, [*(f"warning: {warning}" for warning in warnings), line]


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of one seed's run."""
    return out / f"seed_{seed}"
