"""A run's folder that a later process goes on with: what must still hold of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..record.run_folder import EVENTS, EXPERIMENT, MANIFEST, METRICS, REPORT, RunFolder
from .snapshot import Snapshot, newest


def unfinished(path: Path) -> tuple[RunFolder, Snapshot | None, list[str]]:
    """The folder of a run that has died, its last whole snapshot (None: it died before the first), and warnings.

    Raises `UserError` for a folder that holds no run, or one that is finished.
    """
    folder = RunFolder(path)
    if not (path / EXPERIMENT).is_file():
        fix = "name a run's folder; a run that died before it had written one is started again"
        raise UserError(f"holds no run ({EXPERIMENT} is missing)", where=str(path), fix=fix)
    snapshot, lines = newest(folder.snapshots)
    if snapshot is None and "quoted" in _json(path / METRICS) and (path / REPORT).is_file():
        raise UserError("is finished: there is nothing to go on with", where=str(path), fix=f"look at {path / REPORT}")
    if not (path / EVENTS).is_file():
        (path / EVENTS).touch()
    return folder, snapshot, lines


def take_up(
    folder: RunFolder, snapshot: Snapshot | None, plugins: Mapping[str, str], data: Mapping[str, Mapping[str, Any]]
) -> str:
    """Make what `unfinished` has found ready to go on, once `check_same` agrees; returns the line that says from where.

    A run that died before its first snapshot begins again in its folder.
    """
    check_same(folder.path, plugins, data)
    if snapshot is None:
        folder.cut_events(0)
        return "it died before its first state was saved, and begins again"
    loop, phase, step = snapshot.state["run"]["at"]
    return f"going on from loop {loop}, phase {phase + 1}, step {step}"


def check_same(path: Path, plugins: Mapping[str, str], data: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `UserError` where plugins or data are not those that the run began with: its numbers would be of neither.

    `plugins` and `data` are what a manifest says of them.
    """
    manifest = _json(path / MANIFEST)
    if not manifest:
        return
    here = {role: record.get("sha256") for role, record in data.items()}
    there = {role: record.get("sha256") for role, record in manifest.get("data", {}).items()}
    if changed := [f"data.{role}" for role in sorted(here | there) if here.get(role) != there.get(role)]:
        fix = "restore the files, or start again in another folder"
        raise UserError(f"its images have changed since it began: {', '.join(changed)}", where=str(path), fix=fix)
    before = manifest.get("plugins", {})
    changes = {key: (before.get(key), now) for key, now in plugins.items() if before.get(key) != now}
    if other := [f"{key}: {then} then, {now} now" for key, (then, now) in changes.items()]:
        fix = "install the earlier version, or start again in another folder"
        raise UserError(f"a plugin has changed since it began ({'; '.join(other)})", where=str(path), fix=fix)


def _json(path: Path) -> dict[str, Any]:
    """A JSON file's table; empty where there is none that is whole."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
