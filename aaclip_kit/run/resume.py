"""A run's folder that a later process goes on with: what must still hold of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..contracts.errors import UserError
from ..files.plain_file import read_json
from ..record.run_folder import EVENTS, EXPERIMENT, MANIFEST, REPORT, RunFolder, fingerprints_in, is_finished
from ..report.page import write_report
from .snapshot import Snapshot, newest

_FIX = "restore the files, or start again in another folder"


def unfinished(path: Path) -> tuple[RunFolder, Snapshot | None, list[str]]:
    """The folder of a run that has died, its last whole snapshot (None: it died before the first), and warnings.

    Nobody else may work in the folder meanwhile. Raises `UserError` for a folder that holds no run, or one that is
    finished; for snapshots of another run, or of an experiment that has been edited since.
    """
    folder = RunFolder(path)
    check_begun(path)
    if is_finished(path):
        raise UserError("is finished: there is nothing to go on with", where=str(path), fix=f"look at {path / REPORT}")
    snapshot, lines = newest(folder.snapshots)
    if snapshot is not None and snapshot.state.get("of") != folder.identity:
        problem = f"its snapshots are of another run, or its {EXPERIMENT} or {MANIFEST} has been edited"
        raise UserError(problem, where=str(path), fix=_FIX)
    if not (path / EVENTS).exists():
        (path / EVENTS).touch()
    return folder, snapshot, lines


def check_begun(path: Path) -> None:
    """Raise `UserError` for a folder that holds no run, or one that died before it had begun."""
    if not (path / EXPERIMENT).is_file():
        fix = "name a run's folder; a run that died before it had written one is started again"
        raise UserError(f"holds no run ({EXPERIMENT} is missing)", where=str(path), fix=fix)


def lacks_report(path: Path) -> bool:
    """Say whether a run is finished but for what follows its results: it died while it reported, or lost the page."""
    return is_finished(path) and (RunFolder(path).snapshots.exists() or not (path / REPORT).is_file())


def finish(path: Path) -> str:
    """Make the report of such a run, whose snapshots nobody needs any more; returns a line that says so."""
    write_report(path)
    RunFolder(path).remove_snapshots()
    return f"it was finished but for its report, which is made now: {path / REPORT}"


def take_up(
    folder: RunFolder, snapshot: Snapshot | None, plugins: Mapping[str, str], data: Mapping[str, Mapping[str, Any]]
) -> str:
    """Make what `unfinished` has found ready to go on, once `check_same` agrees; returns the line that says from where.

    A run that died before its first snapshot begins again in its folder.
    """
    check_same(folder.path, plugins, data)
    folder.remove_leftovers()
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
    here, there = fingerprints_in({"data": data}), fingerprints_in(manifest)
    if changed := [f"data.{role}" for role in sorted(here | there) if here.get(role) != there.get(role)]:
        raise UserError(f"its images have changed since it began: {', '.join(changed)}", where=str(path), fix=_FIX)
    before = manifest.get("plugins")
    changes = {key: (_of(before, key), now) for key, now in plugins.items() if _of(before, key) != now}
    if other := [f"{key}: {then} then, {now} now" for key, (then, now) in changes.items()]:
        fix = "install the earlier version, or start again in another folder"
        raise UserError(f"a plugin has changed since it began ({'; '.join(other)})", where=str(path), fix=fix)


def _of(table: Any, key: str) -> Any:
    return table.get(key) if isinstance(table, dict) else None


def _json(path: Path) -> dict[str, Any]:
    """A JSON file's table; empty where there is none that is whole."""
    try:
        return read_json(path)
    except UserError:
        return {}
