"""Whether two experiments are the same, and whether their trainings are."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..contracts.errors import UserError
from ..experiment import Experiment, load, read_toml, resolved_toml
from ..experiment.effects import acts_on
from ..experiment.resolved import by_key
from ..experiment.toml_file import plugin_files
from ..plugin_host.registry import Registry
from ..record.run_folder import EXPERIMENT, MANIFEST, RunFolder
from ..run.resume import take_up, unfinished
from .finished_runs import holds_a_run, is_finished, read_json

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
        more = f" and {len(changed) - 3} more keys" if len(changed) > 3 else ""
        problem = f"holds a run of another experiment: {', '.join(changed[:3])}{more}"
        raise UserError(problem, where=str(folder), fix="name another folder with --out")
    return "finished" if begun and is_finished(folder) else "unfinished"


def has_begun(folder: Path) -> bool:
    """Whether an unfinished run can go on: one that has not begun yet has left nothing to go on with."""
    return (folder / EXPERIMENT).is_file()


def open_run(folder: Path, run: "Run") -> "tuple[RunFolder, Snapshot | None, list[str]]":
    """Make the folder of a new run; or take one up, with its last snapshot and lines that say so."""
    if has_begun(folder):
        run_folder, snapshot, warnings = unfinished(folder)
        line = take_up(run_folder, snapshot, run.experiment.plugins, run.data.records)
        return run_folder, snapshot, [*(f"warning: {warning}" for warning in warnings), line]
    return RunFolder.create(folder), None, []


def seed_folder(out: Path, seed: int) -> Path:
    """Return the folder of one seed's run."""
    return out / f"seed_{seed}"
