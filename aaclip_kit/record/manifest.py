"""The manifest: what a reader must know to run the same thing again, and what it took."""

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..version import __version__


def collect_manifest(
    *,
    device: str,
    plugins: Mapping[str, str],
    seeds: Mapping[str, int],
    data: Mapping[str, Mapping[str, Any]],
    started: datetime,
    finished: datetime | None = None,
    memory: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Return the manifest as plain data.

    `device` is torch's name ("cpu", "cuda:0"), `plugins` maps each loaded plugin to its version, `data` maps each
    role to the fingerprint of its data set, and `memory` is what the run was found to need before it began. Times
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
    """Commit of the repository that holds `folder` and whether tracked files differ from it; None without one."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "modified": None if changes is None else bool(changes)}


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


def peak_memory_bytes() -> int | None:
    """Largest resident memory of this process so far; None where the system does not count it."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def _utc(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("a time of the manifest needs a zone")
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
