"""The resolved copy: every default spelled out, so that it runs again to the same result anywhere."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import tomli_w

from .check import SINGLE, ComponentConfig, Experiment
from .toml_file import is_array_of_tables


def resolved_toml(experiment: Experiment) -> str:
    """The experiment as TOML. Keys that are unset (None) have no TOML form and are left out.

    So are trackers: what a run leaves is the same with and without them.
    """
    components = {*SINGLE, "stages", "losses", "data", "trackers"}
    tables: dict[str, Any] = experiment.file.model_dump(exclude=components, exclude_none=True)
    chosen = {kind: getattr(experiment, kind) for kind in SINGLE}
    tables |= {kind: _table(one) for kind, one in chosen.items() if one is not None}
    tables["stages"] = {name: _table(chosen) for name, chosen in experiment.stages.items()}
    tables["losses"] = {
        phase: {name: {**_table(chosen), "weight": chosen.weight} for name, chosen in group.items()}
        for phase, group in experiment.losses.items()
    }
    roles = {
        role: [{**_table(one), **one.selection.model_dump(exclude_none=True)} for one in chosen]
        for role, chosen in experiment.data.items()
    }
    one_or_several = {role: listed[0] if len(listed) == 1 else listed for role, listed in roles.items()}
    tables["data"] = {"allow_overlap": experiment.file.data.allow_overlap, **one_or_several}
    return tomli_w.dumps(_plain(tables))


def by_key(tables: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Every value by its key with the names of its tables before it: `model.levels`, `data.test.0.root` of an array."""
    values: dict[str, Any] = {}
    for key, value in tables.items():
        if is_array_of_tables(value):
            value = {str(place): table for place, table in enumerate(value)}
        values |= by_key(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return values


def is_place(value: Any) -> bool:
    """Whether a value is a path that says where it lies, as resolved experiments have them, or a list with one."""
    if isinstance(value, list):
        return any(map(is_place, value))
    if not isinstance(value, str):
        return False
    paths = PurePosixPath(value), PureWindowsPath(value)
    return value.startswith("~") or any(path.is_absolute() or ".." in path.parts for path in paths)


def component_table(chosen: ComponentConfig) -> dict[str, Any]:
    """A component's table as plain data, its paths absolute."""
    table: dict[str, Any] = _plain(_table(chosen))
    return table


def _table(chosen: ComponentConfig) -> dict[str, Any]:
    return {"use": chosen.component.name, **chosen.options.model_dump(exclude_none=True)}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value.expanduser().resolve()) if isinstance(value, Path) else value
