"""Where files go: whether they can be written there, and how much room there is; and the store of kept features."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..cache.folder import VARIABLE, default_folder, entries
from ..record.run_folder import default_run_path
from .finding import GB, Finding

LEAST: Final = 0.2 * GB
"""Room that a few runs of the embedded model with their drawn images, 0.04 GB the first, may use up."""

SMALL: Final = 5 * GB
"""Room below which a ViT-L's weights, its checkpoints or kept features soon fill the disk."""


def disk() -> Iterator[Finding]:
    """The folder of runs, the user's cache and the temporary folder."""
    yield place("runs", default_run_path("x").parent.absolute(), "run elsewhere, or name another folder with --out")
    advice = f"set the environment variable {VARIABLE} to a folder with room that you may write"
    yield place("cache folder", default_folder().parent.absolute(), advice)
    advice = "set the environment variable TMPDIR to a folder with room that you may write"
    try:
        temporary = Path(tempfile.gettempdir())
    except OSError as error:
        yield Finding("temporary folder", "bad", str(error), advice)
    else:
        yield place("temporary folder", temporary, advice)


def place(name: str, folder: Path, advice: str) -> Finding:
    """Whether a folder, or the nearest there is above it, can be written, and its free room; nothing stays there."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x")
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Finding(name, "bad", f"{folder} cannot be written: {error.strerror or error}", advice)
    found = f"{folder}: {free / GB:.1f} GB free"
    if free < LEAST:
        return Finding(name, "bad", found, f"free some; or {advice}")
    if free < SMALL:
        return Finding(name, "note", found, f"for large models, free some; or {advice}")
    return Finding(name, "good", found)


def cache() -> Iterator[Finding]:
    """How much is kept in the default store of frozen features."""
    folder = default_folder()
    try:
        found = entries(folder)
    except OSError as error:
        advice = f"{folder} must be a folder that you may read; or set {VARIABLE} to another"
        yield Finding("kept features", "bad", f"{folder} cannot be read: {error.strerror or error}", advice)
        return
    size = sum(entry.size for entry in found)
    yield Finding("kept features", "good", f"{folder}: {len(found):,} entries, {size / GB:.2f} GB")
