"""`aakit cache`: what the store of frozen features holds on disk, and how to delete it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from os.path import expanduser
from pathlib import Path
from typing import Any

from typer import Option

from ..cache.folder import Entry, clear, default_folder, entries
from ..contracts.errors import UserError
from .terminal import PlainConsole, plain_table, say, say_lines


def cache(
    folder: Path | None = Option(None, "--folder", help="Folder of the store; default the user's."),
    delete: bool = Option(False, "--clear", help="Delete the files of the store, and no others."),
    as_json: bool = Option(False, "--json", help="Print JSON."),
) -> None:
    """Show the frozen features that are kept on disk for later runs, by backbone, or delete them."""
    named = expanduser(folder or default_folder())  # noqa: PTH111 - the home of nobody stays as it is written
    place = Path(named).absolute()
    if folder is not None and not place.exists():
        raise UserError("there is no such folder", where=str(folder), fix="name the folder of a store")
    try:
        stored = entries(place)
        faults = clear(place) if delete else []
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
        raise UserError(problem, where=str(place), fix="name a folder that you may read") from None
    if faults:
        problem = f"{len(faults)} files could not be deleted, the first because: {faults[0]}"
        raise UserError(problem, where=str(place), fix="delete them as a user who may")
    record = {**_as_record(place, stored), "deleted": delete}
    if as_json:
        say_lines(json.dumps(record, indent=2))
    else:
        _show(record)


def _as_record(place: Path, stored: Sequence[Entry]) -> dict[str, Any]:
    """Sum bytes and entries of the whole, and of each backbone, the one used last first."""
    groups: dict[str, list[Entry]] = {}
    for entry in sorted(stored, key=lambda entry: entry.used, reverse=True):
        groups.setdefault(entry.identity, []).append(entry)
    backbones = [
        {
            "identity": identity,
            **_sizes(group),
            "last_used": datetime.fromtimestamp(group[0].used, UTC).isoformat(timespec="seconds"),
        }
        for identity, group in groups.items()
    ]
    return {"folder": str(place), **_sizes(stored), "backbones": backbones}


def _sizes(stored: Sequence[Entry]) -> dict[str, int]:
    return {"entries": len(stored), "bytes": sum(entry.size for entry in stored)}


def _show(record: dict[str, Any]) -> None:
    held = f"{record['entries']:,} entries, {_bytes(record['bytes'])}"
    say(f"{record['folder']}: {'deleted ' if record['deleted'] else ''}{held}")
    if record["deleted"] or not record["backbones"]:
        return
    rows = (
        (one["identity"], f"{one['entries']:,}", _bytes(one["bytes"]), one["last_used"]) for one in record["backbones"]
    )
    PlainConsole().print(plain_table("backbone", "entries", "size", "last used", rows=rows))


def _bytes(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.2f} MB"
