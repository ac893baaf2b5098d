"""Snapshots: the whole state of a run between two steps, in files that say whether they are whole."""

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..contracts.errors import UserError
from ..files.plain_file import check_plain
from ..files.whole_file import remove_leftovers, write_whole

KEPT: Final = 2
"""Snapshots that are kept: the last one, and the one before it for the day when the last one is damaged."""

FORMAT: Final = "1"
_SUFFIX: Final = ".snapshot"


@dataclass(frozen=True)
class Snapshot:
    """Tensors by name, on the CPU, and plain data that JSON can hold."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]


class DamagedError(Exception):
    """A file that is no whole snapshot; the message says why."""


def write_snapshot(folder: Path, snapshot: Snapshot) -> Path:
    """Write the next snapshot beside, flush it, rename it, and remove those that are not kept.

    Raises OSError where it cannot be written; then the earlier snapshots are as they were and nothing is left over.
    """
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    numbers = [int(path.stem) for path in snapshots(folder)]
    path = folder / f"{max(numbers, default=0) + 1:08d}{_SUFFIX}"
    # Clones, since safetensors refuses tensors that share memory.
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in snapshot.tensors.items()}
    state = json.dumps(snapshot.state)
    write_whole(path, save(tensors, {"format": FORMAT, "state": state, "crc32": _checksum(tensors, state)}))
    for old in snapshots(folder)[:-KEPT]:
        with suppress(OSError):
            old.unlink()
    return path


def snapshots(folder: Path) -> list[Path]:
    """The snapshots of a folder, oldest first. Raises OSError for one that cannot be looked into."""
    listed = folder.iterdir() if folder.exists() else ()
    found = (path for path in listed if path.suffix == _SUFFIX and path.stem.isdecimal())
    return sorted(found, key=lambda path: int(path.stem))


def newest(folder: Path) -> tuple[Snapshot | None, list[str]]:
    """The last snapshot that is whole, None where there is none at all; and one line for each damaged one before it.

    Raises `UserError` where there are snapshots and all are damaged.
    """
    lines: list[str] = []
    try:
        paths = snapshots(folder)
    except OSError as error:
        problem = f"cannot be read ({error.strerror or error})"
        raise UserError(problem, where=str(folder), fix="make it readable") from None
    for path in reversed(paths):
        try:
            return read_snapshot(path), lines
        except DamagedError as error:
            lines.append(f"{path} is damaged ({error}) and is not used; the one before it is")
    if paths:
        fix = "start the run again in another folder; what it has evaluated so far stays here"
        raise UserError("none of its snapshots is whole", where=str(folder), fix=fix)
    return None, []


def read_snapshot(path: Path) -> Snapshot:
    """A snapshot. Raises `DamagedError` for a file that is cut short, altered or no snapshot."""
    try:
        check_plain(path)
        with safe_open(path, framework="pt") as file:
            about: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, RuntimeError, UserError) as error:
        raise DamagedError(str(error).partition("\n")[0]) from None
    if about.get("format") != FORMAT or "state" not in about:
        raise DamagedError("it is no snapshot of this version")
    if about.get("crc32") != _checksum(tensors, about["state"]):
        raise DamagedError("its checksum does not match what it holds")
    return Snapshot(tensors, json.loads(about["state"]))


def _checksum(tensors: Mapping[str, Tensor], state: str) -> str:
    checksum = zlib.crc32(state.encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode(), checksum)
        checksum = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, checksum)
    return f"{checksum:08x}"
