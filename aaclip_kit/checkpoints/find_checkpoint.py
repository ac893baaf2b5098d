"""What the path of a trained model stands for: a checkpoint, and the experiment that it is used with."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError, in_short
from ..experiment import Experiment, anchored, check_with_plugin_files, checked, read_toml
from ..experiment.moved_keys import with_moved_keys
from ..experiment.resolved import by_key, is_place, resolved_toml
from ..experiment.toml_file import MOST_BYTES, parse_toml, refuse_plugin_files
from ..files.plain_file import read_json, read_text
from ..hub.address import HubAddress, hub_address
from ..hub.client import fetched
from ..model.anomaly_model import AnomalyModel
from ..plugin_host.registry import Registry
from ..record.run_folder import BANK, CHECKPOINT_SUFFIXES, CHECKPOINTS, EXPERIMENT, MANIFEST, METRICS
from .checkpoint import load_into
from .provenance import Metadata, read_metadata


@dataclass(frozen=True)
class Trained:
    """A checkpoint, what it says of itself, and the experiment that it is used with.

    `address` is that of a model which was fetched: its files lie in a cache, and nothing is written there.
    """

    checkpoint: Path
    metadata: Metadata
    experiment: Experiment
    address: HubAddress | None = None


def find_trained(
    path: Path,
    registry: Registry,
    experiment: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    roles: Sequence[str] = (),
) -> Trained:
    """The checkpoint that `path` is or holds, with `experiment`, or else the one that belongs to it.

    A run folder stands for the loop that it quotes; another folder for the one checkpoint in it; an address
    (hf://USER/NAME@REVISION) for the model that is fetched from the hub, which the cache keeps. An override of
    `data.test.use` replaces the whole table, also where it names the plugin that the table has. `roles` are those of
    the data that is to be read. Raises `UserError` where there is no such checkpoint, or none that says which
    experiment it belongs to; and where it names programs, or files and folders that would be used, which the user has
    not named.
    """
    address = hub_address(path)
    if address is not None:
        path = fetched(address)
    checkpoint = checkpoint_in(path) if path.is_dir() else path
    metadata = read_metadata(checkpoint)
    tables, source = _tables(path, checkpoint, metadata, experiment)
    if experiment is None:
        refuse_plugin_files(tables, path, next((file for file in _near(path) if file.is_file()), "FILE"))
    if any(override.partition("=")[0].strip() == "data.test.use" for override in overrides):
        tables.get("data", {}).pop("test", None)
    chosen = checked(tables, overrides, lambda tables: check_with_plugin_files(tables, registry, source))
    if experiment is None and (address is not None or not _in_its_run(path, metadata)):
        _check_places(chosen, overrides, checkpoint, roles)
    return Trained(checkpoint, metadata, chosen, address)


def _near(path: Path) -> list[Path]:
    """Where the experiment of the run that a checkpoint lies in would be."""
    return [folder / EXPERIMENT for folder in (path, path.parent, path.parent.parent)]


def _in_its_run(path: Path, metadata: Metadata) -> bool:
    """Whether the experiment is that of the run's folder around it, where the user can read it."""
    if (path / EXPERIMENT).is_file():
        return True
    return any(_holds(file, metadata.experiment) for file in _near(path))


def _holds(file: Path, text: str | None) -> bool:
    try:
        return read_text(file, most=MOST_BYTES) == text
    except UserError:
        return False


def _check_places(chosen: Experiment, overrides: Sequence[str], checkpoint: Path, roles: Sequence[str]) -> None:
    """Raise `UserError` for files and folders that the checkpoint names and not the user: it may be a stranger's."""
    tables, given = tomllib.loads(resolved_toml(chosen)), [override.partition("=")[0].strip() for override in overrides]
    parts = ("backbone", "prompts", "head", "reference", "model", "stages", "scheduler")
    read = {name: tables[name] for name in parts if name in tables}
    read["data"] = {name: table for name, table in tables["data"].items() if name in roles}
    own = [(key, value) for key, value in by_key(read).items() if is_place(value)]
    named = [(key, value) for key, value in own if not any(f"{key}.".startswith(f"{one}.") for one in given)]
    if named:
        problem = f"names files or folders of a machine: {in_short(f'{key} = {value}' for key, value in named)}"
        keys = in_short((f"--set {key}=..." for key, _ in named), between=" ")
        fix = f"if they are yours, name them yourself: {keys}; or the whole experiment: --experiment FILE"
        raise UserError(problem, where=str(checkpoint), fix=fix)


def checkpoint_in(folder: Path) -> Path:
    """The checkpoint of the loop that a run quotes, or the only one in a folder. Raises `UserError` otherwise."""
    if (folder / METRICS).is_file():
        return _quoted(folder)
    if runs := sorted(path.parent for path in [*folder.glob(f"*/{METRICS}"), *folder.glob(f"*/*/{METRICS}")]):
        fix = f"name one of them, such as {runs[0]}"
        raise UserError(f"holds {len(runs)} runs and is none itself", where=str(folder), fix=fix)
    checkpoints = sorted(path for path in folder.glob("*") if path.suffix in CHECKPOINT_SUFFIXES and path.name != BANK)
    if len(checkpoints) == 1:
        return checkpoints[0]
    problem = f"holds {len(checkpoints)} checkpoints" if checkpoints else "holds no finished run and no checkpoint"
    fix = "name a run's folder, or a checkpoint such as checkpoints/loop_3.safetensors"
    raise UserError(problem, where=str(folder), fix=fix)


def _quoted(folder: Path) -> Path:
    try:
        loop = read_json(folder / METRICS).get("quoted", {}).get("loop")
    except (UserError, AttributeError):
        raise UserError("is no metrics of a run", where=str(folder / METRICS), fix="name a checkpoint itself") from None
    if loop is None:
        problem = "the run quotes no loop: it is not finished"
        raise UserError(problem, where=str(folder), fix=f"wait for it, or name one of {folder / CHECKPOINTS} itself")
    place = (_scored_again(folder) or folder) / CHECKPOINTS
    checkpoint = checkpoint_of(place, loop)
    if checkpoint is None:
        problem = f"the checkpoint of loop {loop}, which the run quotes, is not there"
        raise UserError(problem, where=str(place), fix="restore it, or name another checkpoint itself")
    return checkpoint


def checkpoint_of(folder: Path, loop: int) -> Path | None:
    """A loop's checkpoint among those of a run; None where it is not there."""
    paths = (folder / f"loop_{loop}{suffix}" for suffix in CHECKPOINT_SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def load_stored(model: AnomalyModel, run: Path, loop: int) -> None:
    """Load the weights of a run folder after a loop. Raises `UserError` where they are not there or do not fit."""
    path = checkpoint_of(run / CHECKPOINTS, loop)
    if path is None:
        fix = "keep the checkpoints of runs that are scored again"
        raise UserError(f"has no checkpoint of loop {loop}", where=str(run), fix=fix)
    load_into(model, path)


def _scored_again(folder: Path) -> Path | None:
    """The run whose checkpoints a run scored again, as its manifest names it; it has none of its own."""
    try:
        source = read_json(folder / MANIFEST).get("rescored_from")
    except UserError:
        return None
    return Path(source) if isinstance(source, str) else None


def _tables(path: Path, checkpoint: Path, metadata: Metadata, experiment: Path | None) -> tuple[dict[str, Any], str]:
    """The experiment's tables, and what to call their source in messages."""
    if experiment is not None:
        return anchored(read_toml(experiment), experiment.parent), str(experiment)
    if (path / EXPERIMENT).is_file():
        return with_moved_keys(anchored(read_toml(path / EXPERIMENT), path)), str(path / EXPERIMENT)
    if metadata.experiment is None:
        problem = "does not say which experiment it belongs to"
        raise UserError(problem, where=str(checkpoint), fix="name the experiment file with --experiment")
    source = f"{checkpoint} (its experiment)"
    tables = parse_toml(metadata.experiment, source, "name the experiment file with --experiment")
    return with_moved_keys(tables), source
