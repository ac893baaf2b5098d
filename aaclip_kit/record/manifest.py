"""The manifest: what a reader must know to run the same thing again, and what it took."""

import os
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from ..contracts.errors import UserError
from ..files.plain_file import read_text
from ..files.system import peak_memory_bytes
from ..version import __version__


def collect_manifest(
    *,
    device: str,
    plugins: Mapping[str, str],
    seeds: Mapping[str, int],
    data: Mapping[str, Mapping[str, Any]],
    started: datetime,
    finished: datetime | None = None,
    processor_seconds: float | None = None,
    memory: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Return the manifest as plain data.

    `device` is torch's name ("cpu", "cuda:0"), `plugins` maps each loaded plugin to its version, `data` maps each
    role to the fingerprint of its data set, and `memory` is what the run was found to need before it began.
    `processor_seconds` are those of this process, for a run that it did from beginning to end. Times
    carry a zone and are written as ISO 8601 in UTC; without `finished` the run is going on. The git commit is that of
    `folder`, the working directory by default, and null outside git.
    """
    # Here and below, so that commands that never run a model do not wait for torch.
    import torch

    machine = {"cpus": os.cpu_count(), "threads": torch.get_num_threads()}
    return {
        "versions": package_versions(),
        "plugins": dict(sorted(plugins.items())),
        "git": git_state(folder or Path.cwd()),
        "platform": platform.platform(),
        "device": {"name": device, "model": device_model(device), **machine},
        "seeds": dict(seeds),
        "data": {role: dict(fingerprint) for role, fingerprint in data.items()},
        "started": _utc(started),
        "finished": None if finished is None else _utc(finished),
        "seconds": None if finished is None else round((finished - started).total_seconds(), 3),
        "processor_seconds": processor_seconds,
        "memory": None if memory is None else dict(memory),
        "peak_memory_bytes": peak_memory_bytes(),
    }


def package_versions() -> dict[str, str]:
    """Versions of Python, of this program and of the libraries that its numbers depend on."""
    import torch

    # torch's own version names the build as well.
    versions = {"python": platform.python_version(), "aaclip_kit": __version__, "torch": str(torch.__version__)}
    for package in ("open_clip_torch", "numpy", "scipy", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository that holds `folder`; None without one. Whether files differ from it is not looked at.

    git is not started, since it runs the programs that a repository's own settings name; its files are read.
    """
    places = (place / ".git" for place in (folder.absolute(), *folder.absolute().parents))
    try:
        found = next(place for place in places if place.exists())
        own = found if found.is_dir() else found.parent / _line(found).removeprefix("gitdir: ")
        common = own / _line(own / "commondir") if (own / "commondir").exists() else own
        head = _line(own / "HEAD")
        for _ in range(_MOST_NAMES):
            if not head.startswith("ref: refs/"):
                break
            head = _reference(head.removeprefix("ref: "), own, common)
    except (StopIteration, OSError, ValueError, UserError):
        return None
    return {"commit": head, "modified": None} if _COMMIT.fullmatch(head) else None


_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_MOST_NAMES: Final = 5
"""Names that lead to one another, as git follows them."""


def _reference(name: str, *folders: Path) -> str:
    """What a reference's file says, or git's list of those that have none."""
    if ".." not in name:
        for file in (folder / name for folder in folders):
            if file.exists():
                return _line(file)
    listed = (line.split(" ") for line in read_text(folders[-1] / "packed-refs").splitlines())
    return next(commit for commit, *names in listed if names == [name])


def _line(file: Path) -> str:
    return read_text(file, most=4096).strip()


def device_model(device: str) -> str:
    """The marketing name of a CUDA device, or the processor's as far as the system tells it."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time of the manifest needs a zone")
    return moment.astimezone(UTC).isoformat(timespec="seconds")
